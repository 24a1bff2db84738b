//! Configuration: every mistake at once and in its place; example and documentation complete.

use super::*;

const EXAMPLE: &str = include_str!("../../deploy/wharfinger.toml");

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_checked(text, environment, check::check)
        .map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
}

fn mistakes(text: &str) -> Vec<String> {
    read(text, &[]).expect_err("the text has mistakes")
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = read("", &[]).expect("no mistakes");
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    assert_eq!(
        config.listen.otlp_grpc.map(|address| address.to_string()),
        Some("127.0.0.1:4317".to_owned())
    );
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line_and_column() {
    let text = r#"data = 7

[listen]
otlp_htpp = ":4318"
bulk = "8070"
  admin = "localhost:9600x"

[drain]
delay = 15
timeout = "soon"

[lisetn]
bulk = ":1"

[log]
format = "jsno"
level = "inof"

[feed]
endpoints = ["http://ok:1", 7, "ftp://no", true]
"#;
    let found = mistakes(text);
    let starts = [
        "1:8: data: invalid type: integer `7`, expected ",
        "4:1: listen.otlp_htpp: unknown key, expected one of `otlp_grpc`, ",
        "5:8: listen.bulk: invalid value: string \"8070\", expected an address such as \"127.0.0.1:4318\"",
        "6:11: listen.admin: invalid value: string \"localhost:9600x\", expected an address",
        "9:9: drain.delay: invalid type: integer `15`, expected a duration such as \"30s\"",
        "10:11: drain.timeout: invalid value: string \"soon\", expected a duration",
        "12:2: lisetn: unknown key, expected one of `data`, `listen`, ",
        "16:10: log.format: unknown value `jsno`, expected one of `auto`, `text`, `json` (did you mean `json`?)",
        "17:1: log.level: unknown level `inof`",
        "20:1: feed.endpoints: \"ftp://no\" is not a URL",
        "20:29: feed.endpoints[1]: invalid type: integer `7`, expected a string",
        "20:44: feed.endpoints[2]: invalid type: boolean `true`, expected a string",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (mistake, start) in found.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}\nis not\n{start}");
    }
    assert!(found[1].ends_with("(did you mean `otlp_http`?)"));
    assert!(found[6].ends_with("(did you mean `listen`?)"));
}

#[test]
fn broken_lines_do_not_hide_the_mistakes_of_whole_ones() {
    let text = "[listen]\nbulk = \nadmin = \"x\n[drain]\ntimeout = 3\n[drain]\n";
    let found = mistakes(text);
    for line in ["2:", "3:", "5:", "6:"] {
        let count = found
            .iter()
            .filter(|mistake| mistake.starts_with(line))
            .count();
        assert_eq!(count, 1, "line {line} in {found:#?}");
    }
}

#[test]
fn a_key_stated_twice_is_a_mistake() {
    let found = mistakes("data = \"a\"\ndata = \"b\"\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("2:1: duplicate key"), "{found:#?}");
}

#[test]
fn columns_count_characters_not_bytes() {
    let found = mistakes("log = { format = \"ø\", levle = \"info\" }\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[1].starts_with("1:23: log.levle: "), "{found:#?}");
}

#[test]
fn the_environment_overrides_the_file_and_makes_missing_sections() {
    let config = read(
        "[listen]\nbulk = \":1\"\nadmin = \":2\"\n",
        &[
            ("WHARFINGER_LISTEN__BULK", "127.0.0.1:8170"),
            ("WHARFINGER_LISTEN__FEED", ""),
            ("WHARFINGER_DRAIN__DELAY", "15s"),
            ("WHARFINGER_GATEWAY__WORKERS", "3"),
            ("WHARFINGER_GATEWAY__NAME", "7"),
            ("WHARFINGER_GATEWAY__MEMORY_BYTES", "256 MiB"),
            (
                "WHARFINGER_FEED__ENDPOINTS",
                "[\"http://a:1\", \"http://b:1\"]",
            ),
        ],
    )
    .expect("no mistakes");
    assert_eq!(config.listen.bulk.map(|it| it.port()), Some(8170));
    assert_eq!(config.listen.admin.map(|it| it.port()), Some(2));
    assert_eq!(config.listen.feed, None);
    assert_eq!(config.drain.delay.as_secs(), 15);
    assert_eq!(config.gateway.workers, 3);
    assert_eq!(config.gateway.name, "7");
    assert_eq!(config.gateway.memory_bytes, 256 << 20);
    assert_eq!(config.feed.endpoints.len(), 2);
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let found = read(
        "data = \"x\"\n",
        &[
            ("WHARFINGER_LISTEN__BLUK", ":1"),
            ("WHARFINGER_DRAIN__DELAY", "15"),
            ("WHARFINGER_GATEWAY__WORKERS", "many"),
            ("WHARFINGER_DATA__FOLDER", "x"),
            ("WHARFINGER_FEED__ENDPOINTS", "[{ url = 1 }]"),
        ],
    )
    .expect_err("five mistakes");
    let starts = [
        "WHARFINGER_DATA__FOLDER: data.folder: `data` is not a section",
        "WHARFINGER_DRAIN__DELAY: drain.delay: invalid value: string \"15\", expected a duration",
        "WHARFINGER_FEED__ENDPOINTS: feed.endpoints: invalid type",
        "WHARFINGER_GATEWAY__WORKERS: gateway.workers: invalid type: string \"many\"",
        "WHARFINGER_LISTEN__BLUK: listen.bluk: unknown key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (mistake, start) in found.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}\nis not\n{start}");
    }
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_of_our_name_are_left_alone() {
    let config = read(
        "",
        &[
            ("WHARFINGER_PORT", "tcp://10.0.0.1:4317"),
            ("WHARFINGER_SERVICE_HOST", "10.0.0.1"),
            ("WHARFINGER_PORT_4317_TCP_ADDR", "10.0.0.1"),
            ("OTHER__BULK", "x"),
        ],
    );
    assert!(config.is_ok());
}

#[test]
fn values_that_do_not_go_together_are_found_and_placed() {
    let found = mistakes(
        "[listen]\nbulk = \":4318\"\notlp_http = \"127.0.0.1:4318\"\nfeed = \":0\"\nadmin = \":0\"\n\
         [tls]\nkey = \"k.pem\"\n[feed]\nclient_certificate = \"c.pem\"\n\
         [drain]\ntimeout = \"0s\"\n[gateway]\nname = \"a b\"\nmemory_bytes = 1\n",
    );
    let starts = [
        "2:1: listen.bulk: 0.0.0.0:4318 is taken by listen.otlp_http (127.0.0.1:4318)",
        "7:1: tls.key: has no certificate",
        "9:1: feed.client_certificate: has no key",
        "11:1: drain.timeout: must be longer",
        "13:1: gateway.name: has at most 64",
        "14:1: gateway.memory_bytes: is below 64MiB",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (mistake, start) in found.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}\nis not\n{start}");
    }
}

#[test]
fn limits_that_let_nothing_through_are_found_before_a_door_opens() {
    let found = mistakes(
        "[limits]\nheaders_timeout = \"0s\"\nh2_streams_max = 0\nh2_stream_window = \"1KiB\"\n\
         [control]\nfeed_key = \"k\"\nfeed_client_ca = \"ca\"\n",
    );
    let starts = [
        "2:19: limits.headers_timeout: must be longer than nothing",
        "3:1: limits.h2_streams_max: must be above 0",
        "4:20: limits.h2_stream_window: must be between",
        "6:1: control.feed_key: needs control.feed_certificate",
        "7:1: control.feed_client_ca: asks gateways for certificates",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (mistake, start) in found.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}\nis not\n{start}");
    }
}

#[test]
fn a_value_that_is_wrong_already_is_not_compared_by_its_default() {
    let found = mistakes("[tls]\ncertificate = 5\nkey = \"k.pem\"\n");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn tls_ports_collide_only_where_they_are_open() {
    let text = "[listen]\nbulk = \":8071\"\n";
    assert!(read(text, &[]).is_ok());
    let with_certificate = format!("{text}[tls]\ncertificate = \"c\"\nkey = \"k\"\n");
    assert_eq!(mistakes(&with_certificate).len(), 1);
}

#[test]
fn no_text_makes_the_reader_panic_or_go_round_for_ever() {
    let pieces = [
        "[",
        "]",
        "[[",
        "=",
        "\"",
        "'''",
        "{",
        "}",
        ",",
        ".",
        "\n",
        "listen",
        "bulk",
        "x",
        "7",
        "\u{feff}",
        "ø",
        "\0",
        "#",
        "true",
        "1e999",
        "0x",
        "data",
        "feed.endpoints = [",
        "[[feed]]",
    ];
    let mut seed = 1u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for _ in 0..3_000 {
        let length = next(24);
        let text: String = (0..length).map(|_| pieces[next(pieces.len())]).collect();
        let value = pieces[next(pieces.len())];
        let _ = read(&text, &[("WHARFINGER_LISTEN__BULK", value)]);
    }
}

#[test]
fn deep_nesting_is_a_mistake_and_not_a_crash() {
    assert!(!mistakes(&format!("data = {}", "[".repeat(100_000))).is_empty());
    let keys = format!("{}z = 1", "a.".repeat(100_000));
    assert!(!mistakes(&keys).is_empty());
    let sections = "X__".repeat(20_000);
    assert!(read("", &[(&format!("WHARFINGER_{sections}Y"), "1")]).is_err());
}

#[test]
fn thousands_of_mistakes_end_in_a_bounded_list() {
    let text: String = (0..5_000).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(mistakes(&text).len(), 200);
}

#[test]
fn a_file_that_cannot_be_read_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let none = std::iter::empty;
    let missing = folder.path().join("none.toml");
    let error = Config::read(Some(&missing), none()).expect_err("no such file");
    assert!(
        error.to_string().contains("none.toml: cannot be read: "),
        "{error}"
    );

    let bad = folder.path().join("bad.toml");
    fs::write(&bad, b"data = \"\xff\"").expect("the folder is writable");
    let error = Config::read(Some(&bad), none()).expect_err("not UTF-8");
    assert!(
        error.to_string().ends_with("is not UTF-8 from byte 8 on"),
        "{error}"
    );

    let error = Config::read(Some(Path::new("/dev/zero")), none()).expect_err("endless");
    assert!(
        error.to_string().contains("has more than 1048576 bytes"),
        "{error}"
    );

    fs::write(&bad, b"\n[log]\nlevle = 1\n").expect("the folder is writable");
    let error = Config::read(Some(&bad), none()).expect_err("a typo");
    assert!(
        error
            .to_string()
            .contains("bad.toml:3:1: log.levle: unknown key"),
        "{error}"
    );
}

#[test]
fn the_example_states_every_key_and_each_with_its_default() {
    let stated = uncommented(EXAMPLE);
    let config = read(&stated, &[]).expect("the example has no mistakes");
    assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));

    let table: toml::Table = stated.parse().expect("the example is TOML");
    let mut keys = 0;
    for name in known_keys(&[]) {
        let item = table
            .get(&name)
            .unwrap_or_else(|| panic!("the example lacks `{name}`"));
        keys += 1;
        if let toml::Value::Table(section) = item {
            for key in known_keys(&[&name]) {
                assert!(
                    section.contains_key(&key),
                    "the example lacks `{name}.{key}`"
                );
                keys += 1;
            }
        }
    }
    assert!(keys > 30, "only {keys} keys were compared");
}

#[test]
fn the_example_as_shipped_changes_nothing() {
    let config = read(EXAMPLE, &[]).expect("the example has no mistakes");
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_documentation_names_every_key() {
    let documentation = include_str!("../../docs/configuration.md");
    for section in known_keys(&[]).iter().filter(|name| *name != "data") {
        for key in known_keys(&[section]) {
            assert!(
                documentation.contains(&format!("`{section}.{key}`")),
                "docs/configuration.md lacks `{section}.{key}`"
            );
        }
    }
}

/// Settings stand behind a bare `#`, prose behind `# `.
fn uncommented(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The keys of a section, from what is expected instead of one that cannot be.
fn known_keys(section: &[&str]) -> Vec<String> {
    let mut text = String::new();
    if let Some(name) = section.first() {
        text = format!("[{name}]\n");
    }
    text.push_str("no_such_key = 1\n");
    let mistake = mistakes(&text).remove(0);
    let (_, expected) = mistake.split_once("expected").expect("the known keys");
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn heartbeats_that_come_too_late_to_keep_a_table_fresh_are_a_mistake() {
    for (heartbeat, fresh_within, is_good) in [
        ("1s", "2s", true),
        ("1001ms", "2s", false),
        ("500ms", "999ms", false),
        ("584554530years", "2s", false),
    ] {
        let text = format!(
            "[control]\nheartbeat = \"{heartbeat}\"\n[directory]\nfresh_within = \"{fresh_within}\"\n"
        );
        assert_eq!(read(&text, &[]).is_ok(), is_good, "{text}");
    }
    let found = mistakes("[directory]\nfresh_within = \"900ms\"\n");
    assert!(found[0].contains("fresh_within"), "{found:#?}");
}

#[test]
fn usage_that_is_told_too_seldom_to_say_when_a_token_was_used_is_a_mistake() {
    for (every, is_good) in [
        ("50ms", true),
        ("30s", true),
        ("30001ms", false),
        ("584554530years", false),
    ] {
        let text = format!("[directory]\nusage_every = \"{every}\"\n");
        assert_eq!(read(&text, &[]).is_ok(), is_good, "{text}");
    }
    let found = mistakes("[directory]\nusage_every = \"1h\"\n");
    assert!(
        found[0].contains("directory.usage_every: is above 30 s"),
        "{found:#?}"
    );
}

#[test]
fn a_password_in_the_stores_url_is_a_mistake_that_nobody_repeats() {
    let text = |url: &str| format!("[control]\nstore = \"{url}\"\nstore_password_file = \"p\"\n");
    let found = mistakes(&text("postgres://w:hunter2@db/w"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("2:1: control.store: holds a password"),
        "{found:#?}"
    );
    assert!(!found[0].contains("hunter2"), "{found:#?}");
    assert!(read(&text("postgres://w@db/w?sslmode=verify-full"), &[]).is_ok());
    let idle = mistakes(&text("sqlite:///store.sqlite"));
    assert!(
        idle[0].starts_with("3:1: control.store_password_file: is for a store on PostgreSQL"),
        "{idle:#?}"
    );
    let variable = [("WHARFINGER_CONTROL__STORE", "postgres://w:hunter2@db/w")];
    let found = read("", &variable).expect_err("a mistake");
    assert!(!found[0].contains("hunter2"), "{found:#?}");
}

#[test]
fn proxies_that_are_trusted_are_networks_and_none_larger_than_it_looks() {
    let found = mistakes(
        "[control]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\", \"10.1.2.3/8\"]\n",
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("10.1.2.3/8 has bits set"), "{found:#?}");
    let found = mistakes("[control]\ntrusted_proxies = [\"the proxy\"]\n");
    assert!(
        found[0].contains("`the proxy` is not a network"),
        "{found:#?}"
    );
}
