//! docs/protocol.md says what the code does: its examples are the vectors, its table the codes.

use std::collections::HashMap;
use std::path::Path;

use darktower_protocol::Code;
use serde::Deserialize;

use crate::bytes_on_the_wire::unhex;
use crate::vectors::read;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    std::fs::read_to_string(path).unwrap()
}

#[derive(Deserialize)]
struct Named {
    name: String,
    wire: String,
}

/// Fenced blocks "```hex NAME" hold the bytes of the vector NAME; "#" starts a comment.
#[test]
fn examples_are_the_vectors() {
    let files = ["units.json", "bad_units.json", "preambles.json", "datagrams.json", "messages.json"];
    let vectors: HashMap<String, String> =
        files.iter().flat_map(|file| read::<Named>(file)).map(|row| (row.name, row.wire)).collect();
    let document = document();
    let mut examples = 0;
    for block in document.split("\n```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let (body, _) = rest.split_once("\n```").unwrap();
        let bytes: String = body.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
        let vector = vectors.get(name.trim()).unwrap_or_else(|| panic!("no vector is called {name:?}"));
        assert_eq!(unhex(&bytes), unhex(vector), "the example {name:?} differs from its vector");
        examples += 1;
    }
    assert!(examples >= 8, "only {examples} examples were found");
}

/// One row per code, in order: number, name, WebTransport number, meaning.
#[test]
fn code_table_is_the_table_of_the_code() {
    let document = document();
    let (_, section) = document.split_once("\n## 7 ").unwrap();
    let (section, _) = section.split_once("\n## 8 ").unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| 0x")).collect();
    let expected: Vec<String> = Code::TABLE
        .iter()
        .map(|(code, name, meaning)| {
            format!(
                "| 0x{:02x} | `{name}` | 0x{:x} | {} |",
                code.as_u32(),
                code.to_webtransport(),
                meaning.trim()
            )
        })
        .collect();
    assert!(rows == expected, "the table of section 7 should be:\n{}", expected.join("\n"));
}
