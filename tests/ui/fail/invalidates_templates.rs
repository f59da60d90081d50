use cached_aside::invalidates;

#[invalidates(tags = ["note:{note_di}", "tenant:{tenant}", "a tag", "note:*"])]
async fn tags(note_id: u32) -> u32 {
    note_id
}

#[invalidates(tags = "note:{note_id}")]
async fn no_list(note_id: u32) -> u32 {
    note_id
}

#[invalidates(tags = [])]
async fn no_tags(note_id: u32) -> u32 {
    note_id
}

#[invalidates(prefix = ["note:{note_id}", "", "user:{id}:", "user:{note_id", "*", "a?:"])]
async fn prefixes(note_id: u32) -> u32 {
    note_id
}

#[invalidates(prefix = note_id)]
async fn no_prefix(note_id: u32) -> u32 {
    note_id
}

struct Repo {
    id: u32,
}

impl Repo {
    #[invalidates(tags = ["repo:{self}"], prefix = "repo:{self}:")]
    async fn whole(&self) -> u32 {
        self.id
    }
}

fn main() {}
