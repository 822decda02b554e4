//! The stored corpus of the fuzz targets, replayed: what was found once stays mended. `make fuzz` makes more of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

#[path = "../fuzz/checks.rs"]
mod checks;

#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, check) in checks::TARGETS {
        let inputs = fs::read_dir(corpus.join(name)).unwrap();
        let mut count = 0;
        for input in inputs {
            let bytes = fs::read(input.unwrap().path()).unwrap();
            check(&bytes);
            // And whatever a peer has cut off.
            (0..bytes.len().min(512)).for_each(|end| check(&bytes[..end]));
            count += 1;
        }
        assert!(count > 10, "{name} has {count} inputs");
    }
}
