use cached_aside::cached;

struct Db {
    tenant: u32,
}

#[cached("note:{note_id}", ttl = "5m", tags = ["note:{note_di}", "tenant:{tenant}"])]
async fn unknown(note_id: u32) -> u32 {
    note_id
}

#[cached("note:{note_id}", ttl = "5m", skip(db), tags = ["tenant:{db.tenant}"])]
async fn skipped(db: &Db, note_id: u32) -> u32 {
    db.tenant + note_id
}

#[cached("bare", ttl = "5m", skip(page), tags = ["page:{page}", "note:{note_id}"])]
async fn bare(note_id: u32, page: u32) -> u32 {
    note_id + page
}

impl Db {
    #[cached("method", ttl = "5m", skip(self), tags = ["tenant:{self.tenant}"])]
    async fn method(&self, note_id: u32) -> u32 {
        note_id
    }

    #[cached("whole:{self.tenant}", ttl = "5m", tags = ["tenant:{self}"])]
    async fn whole(&self) -> u32 {
        self.tenant
    }

    #[cached("key", ttl = "5m", skip(self), key = note_id, tags = ["tenant:{self.tenant}"])]
    async fn key(&self, note_id: u32) -> u32 {
        note_id
    }
}

fn main() {}
