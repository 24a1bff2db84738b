//! Every secret that was issued, in whatever way, is looked for in all that a control plane and a gateway leave behind, and those
//! that nobody has presented in the gateway's memory.
//!
//! `WHARFINGER_DOSE=3000 cargo test --test secrecy -- --nocapture` issues ten times as many.

mod issue;
#[cfg(target_os = "linux")]
mod memory;
mod places;
mod present;
mod search;
mod stage;
#[path = "../world/mod.rs"]
mod world;

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use issue::{FIRST, Issued, Reach, issue, made_up};
use places::Looked;
use present::{hold, present};
use stage::Stage;
use world::{eventually, live::dose};

/// Of that many shipping tokens each fourth is presented.
const PRESENTED: usize = 24;

/// What is wrong with what was found: each secret that lies where it must not.
fn strays(issued: &Issued, looked: &Looked) -> Vec<String> {
    let own = |number: usize, place: &str| {
        let file = FIRST.get(number).map(|(file, _)| format!("control/{file}"));
        file.is_some_and(|file| file == place)
    };
    let strays = looked.found.iter();
    let strays = strays.filter(|(number, place)| !own(*number, place));
    strays
        .map(|(number, place)| format!("{} in {place}", issued.search.name(*number)))
        .collect()
}

/// Presents some tokens, live and dead; every answer is looked through.
async fn present_some(stage: &Stage, issued: &mut Issued, account: u64) -> Looked {
    let mut looked = Looked::default();
    let some: Vec<_> = issued
        .shipping
        .iter()
        .step_by(4)
        .take(PRESENTED)
        .copied()
        .collect();
    let path = |id: u64, verb: &str| format!("/tokens/{id}/{verb}?wait=enforced&force=true");
    for (n, (id, number)) in some.iter().enumerate() {
        issued.reach[*number] = Reach::Presented;
        match n % 4 {
            0 => drop(
                stage
                    .must(Method::POST, &path(*id, "revoke"), Value::Null)
                    .await,
            ),
            1 => drop(
                stage
                    .must(Method::POST, &path(*id, "disable"), Value::Null)
                    .await,
            ),
            _ => {}
        }
        for answer in present(stage, &issued.texts[*number]).await {
            looked.at(
                &issued.search,
                "an answer of the gateway",
                answer.as_bytes(),
            );
        }
    }
    // Also to the API, which says what it is.
    for (_, number) in &some {
        let body = json!({"token": issued.texts[*number]});
        let leak = stage.must(Method::POST, "/leaks", body).await;
        looked.at(&issued.search, "/leaks", leak.to_string().as_bytes());
    }
    eventually("usage comes back", async || {
        let path = format!("/accounts/{account}/usage?group=token&step=minute");
        let page = stage.must(Method::GET, &path, Value::Null).await;
        page["items"]
            .as_array()
            .is_some_and(|it| it.len() >= some.len() / 2)
    })
    .await;
    for (id, _) in &some {
        for path in [format!("/tokens/{id}/senders"), format!("/tokens/{id}")] {
            let page = stage.must(Method::GET, &path, Value::Null).await;
            looked.at(&issued.search, &path, page.to_string().as_bytes());
        }
    }
    looked
}

/// What of both processes' memory is claimed, and what is only said.
#[cfg(target_os = "linux")]
async fn look_into_memory(stage: &Stage, issued: &Issued, seen: [usize; 2]) {
    let core = memory::search(&stage.gateway, &issued.search).await;
    let of = |reach: Reach| {
        let all = (0..issued.search.len()).filter(move |number| issued.reach[*number] == reach);
        let found = all.clone().filter(|number| core.found.contains(number));
        (found.collect::<BTreeSet<_>>(), all.count())
    };
    let (kept, presented) = (of(Reach::Kept), of(Reach::Presented));
    println!(
        "gateway's memory, {} MiB: of {} secrets never presented to it {} found; of {} presented {} found, {} of {} that it needs \
         at destinations and to join",
        core.bytes >> 20,
        kept.1,
        kept.0.len(),
        presented.1,
        presented.0.len(),
        of(Reach::Gateways).0.len(),
        of(Reach::Gateways).1,
    );
    for number in seen {
        let name = issued.search.name(number);
        assert!(
            core.found.contains(&number),
            "{name} is there, and was not found"
        );
    }
    let found = kept.0.iter().map(|number| issued.search.name(*number));
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "in the gateway's memory: {found:?}");
    let core = memory::search(&stage.control, &issued.search).await;
    println!(
        "control plane's memory, {} MiB, of which nothing is claimed, since it makes them and shows them: {} of {} secrets found",
        core.bytes >> 20,
        core.found.len(),
        issued.search.len(),
    );
}

#[cfg(not(target_os = "linux"))]
async fn look_into_memory(_: &Stage, _: &Issued, _: [usize; 2]) {
    println!("memory is looked into on Linux alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_found_in_what_is_left_behind_nor_in_the_gateways_memory() {
    let planted = made_up(44);
    let stage = Stage::set(&planted).await;
    let mut issued = Issued::new();
    let account = issue(&stage, &mut issued, dose(300)).await;
    let planted = issued.add("planted", Reach::Gateways, &planted);
    let answers = present_some(&stage, &mut issued, account).await;

    let (_, held) = issued.shipping[1];
    issued.reach[held] = Reach::Presented;
    let stream = hold(&stage, &issued.texts[held]).await;
    // Requests behind it have gone through: it has been read.
    present(&stage, &issued.texts[held]).await;
    look_into_memory(&stage, &issued, [planted, held]).await;
    drop(stream);

    let pages = places::pages(&stage, &issued.search, account).await;
    let backup = stage.folder.path().join("backup.sqlite");
    stage.run(&["store", "backup", &backup.display().to_string()]);
    let running = places::files(stage.folder.path(), &issued.search);
    let Stage {
        control,
        gateway,
        folder,
        ..
    } = stage;
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(control.terminate(), Some(0));
    let stopped = places::files(folder.path(), &issued.search);

    println!("{} secrets issued:", issued.search.len());
    for (way, count) in &issued.ways {
        println!("  {count} by {way}");
    }
    let mut wrong = Vec::new();
    for (what, looked) in [
        ("answers", &answers),
        ("pages", &pages),
        ("files, paths and logs while they run", &running),
        ("the same once they have ended", &stopped),
    ] {
        let strays = strays(&issued, looked);
        println!(
            "{what}: {} looked through, {} KiB, {} secrets found",
            looked.places,
            looked.bytes >> 10,
            strays.len()
        );
        wrong.extend(strays);
    }
    assert!(wrong.is_empty(), "{:#?}", &wrong[..wrong.len().min(20)]);
    // The eyes are open: what lies in a file of its own by right was found there each time.
    for looked in [&running, &stopped] {
        let mut own: Vec<_> = looked.found.iter().map(|(number, _)| *number).collect();
        own.sort_unstable();
        assert!(own.into_iter().eq(0..FIRST.len()), "each in its own file");
    }
    let open = places::open_to_others(&folder.path().join("control"));
    assert_eq!(open, BTreeSet::new(), "others can read them");
    let log = std::fs::read_to_string(folder.path().join("gateway.log")).expect("a log");
    assert!(log.contains("unknown_token") && log.contains("revoked_token"));
}
