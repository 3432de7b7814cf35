//! The committed protobuf code is what `proto/` generates, and `proto/` keeps the API contract.

use std::fs;
use std::path::Path;

use prost_reflect::{DescriptorPool, FieldDescriptor};

#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let include = root.join("../proto");
    let files = ["common", "signaling", "media", "internal"].map(|name| format!("darktower/v1/{name}.proto"));
    let descriptors = protox::compile(files, [&include]).expect("proto/ compiles");

    let out = tempfile::tempdir().expect("temporary directory");
    prost_build::Config::new()
        .out_dir(out.path())
        .bytes(["."])
        .compile_fds(descriptors)
        .expect("prost generates code");
    let fresh = fs::read_to_string(out.path().join("darktower.v1.rs")).expect("generated file");

    let committed = root.join("src/signaling/gen/darktower.v1.rs");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&committed, &fresh).expect("write generated file");
    }
    let current = fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        current == fresh,
        "{} is stale; run UPDATE_GENERATED=1 cargo test -p darktower-protocol --test generated",
        committed.display()
    );
}

/// Every message, field and enum value of the contract is there under its name, number and type.
#[test]
fn messages_of_the_contract_are_unchanged() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pool = |files: &[&str], include: &Path| {
        let descriptors = protox::compile(files, [include]).expect("compiles");
        DescriptorPool::from_file_descriptor_set(descriptors).expect("descriptors are whole")
    };
    let contract = pool(&["contract.proto"], &root.join("testdata"));
    let files = ["common", "signaling", "media", "internal"].map(|name| format!("darktower/v1/{name}.proto"));
    let ours = pool(&files.each_ref().map(String::as_str), &root.join("../proto"));

    let messages: Vec<_> = contract.all_messages().filter(|message| !message.is_map_entry()).collect();
    assert_eq!(messages.len(), 29);
    for expected in messages {
        let name = expected.name();
        let message = ours
            .get_message_by_name(&format!("darktower.v1.{name}"))
            .unwrap_or_else(|| panic!("{name} is missing"));
        for field in expected.fields() {
            let same = message.get_field(field.number()).unwrap_or_else(|| panic!("{name}.{}", field.name()));
            let describe = |field: &FieldDescriptor| {
                let kind =
                    format!("{:?}", field.kind()).replace("darktower.v1.", "").replace("contract.", "");
                (field.name().to_owned(), kind, field.cardinality(), field.is_map())
            };
            assert_eq!(describe(&same), describe(&field), "{name}");
        }
    }
    for expected in contract.all_enums() {
        let name = expected.name();
        let values = ours
            .get_enum_by_name(&format!("darktower.v1.{name}"))
            .unwrap_or_else(|| panic!("{name} is missing"));
        for value in expected.values() {
            let same = values.get_value(value.number()).unwrap_or_else(|| panic!("{name}::{}", value.name()));
            assert_eq!(same.name(), value.name(), "{name}");
        }
    }
}
