//! Turns `models/*.toml` into JSON, which is read many times faster at every start.

use std::fs;
use std::path::Path;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/models");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("src/models is a folder")
        .map(|entry| entry.expect("src/models can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let out = std::env::var_os("OUT_DIR").expect("cargo says where to write");
    for file in files {
        let text = fs::read_to_string(&file).expect("a model can be read");
        let read: serde_json::Value =
            toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let text = serde_json::to_string(&read).expect("a model is plain data");
        // texts are borrowed from the output, which must hold them as they are
        assert!(
            !text.contains('\\'),
            "{}: quotes or line ends in a text",
            file.display()
        );
        let name = file.file_stem().expect("a model has a name");
        fs::write(Path::new(&out).join(name).with_extension("json"), text)
            .expect("the output can be written");
    }
}
