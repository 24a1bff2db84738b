use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn words_become_ids_or_names() {
    assert_eq!(access::reference("12"), serde_json::json!(12));
    assert_eq!(access::reference("main"), serde_json::json!("main"));
    assert_eq!(access::reference("+1"), serde_json::json!("+1"));
    let large = "99999999999999999999999";
    assert_eq!(access::reference(large), serde_json::json!(large));
    assert_eq!(access::encoded("a b&c=ü/"), "a%20b%26c%3D%C3%BC%2F");
}

#[test]
fn an_address_that_means_every_interface_is_reached_over_loopback() {
    let url = |address: &str| access::reachable(address.parse().expect("an address"));
    assert_eq!(url("0.0.0.0:9602"), "http://127.0.0.1:9602");
    assert_eq!(url("[::]:9602"), "http://[::1]:9602");
    assert_eq!(url("10.1.2.3:1"), "http://10.1.2.3:1");
}

#[test]
fn urls_that_would_mislead_are_refused() {
    for wrong in [
        "127.0.0.1:9600",
        "ftp://h",
        "http://user:secret@h",
        "http://h/?a=b",
        "http://",
    ] {
        let client = client::Client::new(wrong, None, HEALTH_TIMEOUT);
        assert!(matches!(client, Err(Failure::Usage(_))), "{wrong}");
    }
}
