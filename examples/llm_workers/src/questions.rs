//! The questions of the users: from a file, or from a short list of study questions.

use std::{collections::HashSet, fs, io::Read, path::Path};

use flate2::read::MultiGzDecoder;

/// Returns the distinct questions of a file, in the order of the file.
///
/// Each line is `label<TAB>question<TAB>question`. The file is plain text or gzip.
pub(crate) fn read(path: &Path) -> Result<Vec<String>, String> {
    const GZIP: &[u8] = &[0x1f, 0x8b];

    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let text = if bytes.starts_with(GZIP) {
        let mut text = String::new();
        MultiGzDecoder::new(&*bytes).read_to_string(&mut text).map_err(|error| error.to_string())?;
        text
    } else {
        String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut seen = HashSet::new();
    let mut questions = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fields = line.split('\t');
        let (Some(_label), Some(one), Some(other), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("line {} is not `label<TAB>question<TAB>question`", index + 1));
        };
        for question in [one, other] {
            if !question.is_empty() && seen.insert(question) {
                questions.push(question.to_owned());
            }
        }
    }
    if questions.is_empty() {
        return Err("no questions in it".to_owned());
    }
    Ok(questions)
}

pub(crate) fn built_in() -> Vec<String> {
    BUILT_IN.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

const BUILT_IN: &str = "
    Summarise this note in five sentences.
    What are the key terms here, and what does each mean?
    Explain the main idea as if I were twelve.
    Which part of this is most likely to come up in the exam?
    Make ten flashcards from this note.
    Quiz me with five multiple choice questions.
    What did the lecturer leave out that I should know?
    Give me a worked example of the second formula.
    What is the difference between the two theories in this note?
    Why does the proof need the function to be continuous?
    Where does this contradict the textbook?
    How does this connect to last week's note?
    What are the three causes, in order of importance?
    Put the dates in this note on a timeline.
    Which assumptions does the model make?
    What happens if the first assumption does not hold?
    Write a mnemonic for the list in the middle.
    Translate the definitions into plain English.
    What would a good essay question on this be?
    Outline an answer to that essay question.
    Which of these formulas do I have to know by heart?
    Where does the minus sign in the last step come from?
    What are common mistakes with this method?
    When would I use this method rather than the other one?
    Give me a counterexample to the converse.
    What does the diagram on the second page show?
    Which units do these quantities have?
    Derive the result again, with every step.
    What did the experiment actually measure?
    How large was the sample, and is that enough?
    Who disagreed with this view, and why?
    What evidence supports the author's main claim?
    Turn this note into a table.
    What should I revise first if I have one hour?
    Make a study plan for this topic for a week.
    Which exercises go with this note?
    Check my answer: is the limit zero?
    Explain the difference between the mean and the median here.
    What is the intuition behind the theorem?
    State the theorem precisely, with all its conditions.
    Why is this step allowed?
    What is an everyday example of this effect?
    How do I recognise this kind of problem?
    List the people named here and what each did.
    What changed after the reform described here?
    Compare this policy with the one before it.
    Which enzymes take part, and in which order?
    What limits the rate of this reaction?
    Why does the graph flatten at the end?
    How would the result change at a higher temperature?
    Read my summary and tell me what is missing.
    Shorten this note to what fits on one card.
    What does the abbreviation in the title stand for?
    Is the claim in the last paragraph still accepted today?
    Give me three questions to ask in the tutorial.
    Which sentence here is the definition?
    What is the time complexity, and why?
    Walk me through the algorithm on a list of five numbers.
    What breaks if the list is already sorted?
    Ask me one question at a time until I get this right.
";
