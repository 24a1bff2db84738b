//! What stands in the way of a start, said once.

use super::world::{command, err};

#[test]
fn a_store_that_cannot_be_used_is_one_sentence_and_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control/store.sqlite");
    let run = || {
        let mut control = command();
        for door in ["ADMIN", "FEED", "OPERATE"] {
            control.env(format!("WHARFINGER_LISTEN__{door}"), "127.0.0.1:0");
        }
        let output = control
            .arg("control")
            .env("WHARFINGER_DATA", folder.path())
            .env("WHARFINGER_LOG", "off")
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        let said = err(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("/control"), "{said}");
        assert!(said.matches("code: ").count() <= 1, "{said}");
    };
    // A master key, so that there is a store to which it belongs.
    std::fs::write(
        folder.path().join("master.key"),
        "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    )
    .expect("written");
    std::fs::create_dir_all(&path).expect("a folder in place of the file");
    run();
    std::fs::remove_dir(&path).expect("removed");
    std::fs::write(&path, "no database ".repeat(99)).expect("written");
    run();
    std::fs::remove_dir_all(folder.path().join("control")).expect("removed");
    std::fs::write(folder.path().join("control"), "no folder").expect("written");
    run();
}
