//! One gateway's stream, from its greeting to its end.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{audit, messages::encoded};
use crate::{
    control::{
        Control, Error,
        publish::{Caller, Publisher, Session, Since, Taken},
        store::{Claim, Kept, Store},
        usage,
    },
    model::{Change, text::is_hidden, usage::REPORT_TOKENS_MAX},
    rpc::feed::{
        self, FromGateway, Hello, SnapshotBegin, SnapshotChunk, SnapshotEnd, Welcome,
        from_control::Message, from_gateway,
    },
};

/// How long a gateway may leave its messages lying before it is cut.
pub(in crate::control) const STALL_MAX: Duration = Duration::from_secs(10);
/// How long a gateway may take to say who it is.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How old `last_seen_at` may be after a crash of the control plane. Other control planes give up a claim that was not renewed for
/// four times that long.
const REMEMBER_EVERY: Duration = Duration::from_secs(15);
/// How often other control planes hear how far a gateway has come, while it goes on.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Bytes of a name or version.
const NAME_BYTES_MAX: usize = 128;
/// Rows read at once.
const PAGE_ROWS: u32 = 10_000;
/// Destinations may be large.
const PAGE_LARGE_ROWS: u32 = 16;
/// A chunk is sent once it is past this; one change more fits under 1 MiB.
const CHUNK_BYTES: usize = 128 << 10;
/// Said instead of a heartbeat that nobody could vouch for: another control plane may be better off.
const UNHEARD: &str = "this control plane cannot hear the store, and others may have changed it";

struct Follower<'a> {
    store: &'a Store,
    publisher: &'a Publisher,
    outbox: &'a mpsc::Sender<Result<Bytes, Status>>,
    head: watch::Receiver<u64>,
    /// Everything up to here is on the stream.
    sent: u64,
}

#[derive(Default)]
struct Chunk {
    changes: Vec<feed::Change>,
    bytes: usize,
}

/// Serves the stream to its end.
pub(super) async fn follow(
    control: Control,
    stop: CancellationToken,
    mut inbox: Streaming<FromGateway>,
    outbox: mpsc::Sender<Result<Bytes, Status>>,
) {
    let end = tokio::select! {
        Err(end) = converse(&control, &mut inbox, &outbox) => end,
        () = stop.cancelled() => Status::unavailable("the control plane is going down"),
    };
    // A gateway that doesn't read finds out when its stream ends.
    let _ = outbox.try_send(Err(end));
}

async fn converse(
    control: &Control,
    inbox: &mut Streaming<FromGateway>,
    outbox: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<Infallible, Status> {
    let store = &control.inner.store;
    let publisher = store.publisher();
    let hello = timeout(HELLO_MAX, greeting(inbox))
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came"))??;
    // What another control plane has sent to this gateway must not look like a future that never happened.
    store.catch_up().await.map_err(unheard)?;
    // Before the head is looked at: what is committed from here on is waited for.
    let caller = Caller {
        name: &hello.gateway,
        instance: &hello.instance,
        version: &hello.version,
    };
    let session = publisher
        .gateways
        .connect(caller)
        .map_err(|Taken| taken(&hello.gateway))?;
    // Before it is told anything: from then on it may serve, so a control plane that starts again must wait for it.
    let session = claim(store, session).await?;
    let end = spoken_for(control, &session, &hello, inbox, outbox).await;
    // A name that nobody speaks for is free. When this control plane stops, it stays the gateway's until it comes back.
    remember(store, &session, true).await?;
    if let Err(status) = &end {
        tracing::info!(gateway = %hello.gateway, reason = status.message(), "gateway's stream ends");
    }
    end
}

/// What a gateway and its stream have to say to each other, once the stream speaks for it.
async fn spoken_for(
    control: &Control,
    session: &Session,
    hello: &Hello,
    inbox: &mut Streaming<FromGateway>,
    outbox: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<Infallible, Status> {
    let store = &control.inner.store;
    let publisher = store.publisher();
    // Once more: who waits elsewhere and missed this gateway has committed before. It must be told of that, too.
    store.catch_up().await.map_err(unheard)?;
    let mut follower = Follower {
        store,
        publisher,
        outbox,
        head: publisher.subscribe(),
        sent: hello.revision,
    };
    let head = publisher.head();
    // The same number isn't enough: a restored store counts again what it had counted before.
    let is_known = hello.store == store.id()
        && hello.digest_key_id == store.digest_key().id
        && (1..=head).contains(&hello.revision)
        && hello.history != 0
        && store.history_of(hello.revision).await.map_err(internal)? == Some(hello.history);
    if is_known {
        session.acknowledge(hello.revision, &hello.accepted);
    }
    tracing::info!(gateway = %hello.gateway, version = %hello.version, revision = hello.revision, head,
        snapshot = !is_known, "gateway follows");
    let heartbeat = control.inner.config.heartbeat;
    // Aside: what is applied slowly must hold up neither deltas nor acknowledgements.
    let (desk, reports) = mpsc::channel(1);
    follower.welcome(is_known, heartbeat).await?;
    tokio::select! {
        end = follower.run(is_known, heartbeat) => end,
        end = said(inbox, session, publisher, &desk) => end,
        end = usage::file_all(control, &hello.gateway, reports, outbox) => end,
        end = keep_remembering(store, session) => end,
        end = keep_telling(store, session) => end,
        end = audit::tell(store, hello, outbox) => end,
        () = session.replaced() => Err(Status::aborted("another stream came under this gateway's name")),
    }
}

async fn keep_remembering(store: &Store, session: &Session) -> Result<Infallible, Status> {
    let mut every = interval(REMEMBER_EVERY);
    every.tick().await;
    loop {
        every.tick().await;
        remember(store, session, false).await?;
    }
}

/// Where other control planes read the store: what the gateway acknowledges, for those that wait there. The first word at
/// once, those that follow together.
async fn keep_telling(store: &Store, session: &Session) -> Result<Infallible, Status> {
    if !store.is_shared() {
        return std::future::pending().await;
    }
    let mut changed = session.subscribe();
    let mut told = 0;
    loop {
        let revision = session.row().map_or(told, |row| row.revision);
        if revision != told {
            remember(store, session, false).await?;
            told = revision;
            sleep(TELL_EVERY).await;
            continue;
        }
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Writes down that this stream speaks for the gateway, unless another control plane has another one of that name.
async fn claim(store: &Store, session: Session) -> Result<Session, Status> {
    let Some(row) = session.row() else {
        return Ok(session);
    };
    match store.claim_gateway(&row).await.map_err(internal)? {
        Claim::Made => {}
        Claim::Replaced => tracing::warn!(
            gateway = row.name,
            "a gateway has come with a new data folder under the name of one that is not connected, and stands for it: \
             if that one is still running somewhere, one of the two needs another gateway.name"
        ),
        Claim::Taken => {
            session.withdraw();
            return Err(taken(&row.name));
        }
    }
    Ok(session)
}

fn taken(gateway: &str) -> Status {
    tracing::warn!(
        gateway,
        "refused: a gateway with another data folder is connected under this name"
    );
    Status::already_exists(
        "another gateway is connected under this name: give one of the two another gateway.name",
    )
}

/// Writes the gateway down.
async fn remember(store: &Store, session: &Session, is_over: bool) -> Result<(), Status> {
    match session.row() {
        Some(row) => {
            // After the revision was read: whoever finds the one in the store finds the other.
            let accepted = session.untold();
            store
                .remember_gateway(&row, &accepted, is_over)
                .await
                .map_err(internal)?;
            session.told(accepted.len());
            Ok(())
        }
        None => Ok(()),
    }
}

async fn greeting(inbox: &mut Streaming<FromGateway>) -> Result<Hello, Status> {
    let Some(from_gateway::Message::Hello(hello)) =
        inbox.message().await?.and_then(|message| message.message)
    else {
        return Err(Status::invalid_argument(
            "the first message must be a hello",
        ));
    };
    let is_sane = |text: &str| text.len() <= NAME_BYTES_MAX && !text.chars().any(is_hidden);
    let is_good = [&hello.gateway, &hello.version, &hello.instance]
        .into_iter()
        .all(|text| is_sane(text));
    if hello.gateway.is_empty() || !is_good {
        return Err(Status::invalid_argument(
            "a gateway's name, version and instance are text of at most 128 bytes, and the name is not empty",
        ));
    }
    Ok(hello)
}

async fn said(
    inbox: &mut Streaming<FromGateway>,
    session: &Session,
    publisher: &Publisher,
    desk: &mpsc::Sender<feed::Usage>,
) -> Result<Infallible, Status> {
    while let Some(message) = inbox.message().await? {
        match message.message {
            Some(from_gateway::Message::Acknowledge(acknowledge)) => {
                if acknowledge.revision > publisher.head() {
                    return Err(Status::invalid_argument("acknowledged what was never sent"));
                }
                session.acknowledge(acknowledge.revision, &acknowledge.accepted);
            }
            Some(from_gateway::Message::Usage(usage)) => {
                // One that finds the last one still there is sent again: it was not waited for.
                let _ = desk.try_send(usage);
            }
            Some(from_gateway::Message::Hello(_)) => {
                return Err(Status::invalid_argument("a second hello"));
            }
            // From a newer version.
            None => {}
        }
    }
    Err(Status::cancelled("the gateway has hung up"))
}

// === impl Follower ===

impl Follower<'_> {
    async fn welcome(&self, is_known: bool, heartbeat: Duration) -> Result<(), Status> {
        let key = self.store.digest_key();
        self.send(Message::Welcome(Welcome {
            store: self.store.id().to_owned(),
            digest_key_id: key.id,
            digest_key: key.bytes().to_vec(),
            head: self.publisher.head(),
            heartbeat_ms: heartbeat.as_millis().try_into().unwrap_or(u32::MAX),
            continues: is_known,
            history: 0,
            usage_tokens_max: REPORT_TOKENS_MAX.try_into().unwrap_or(u32::MAX),
        }))
        .await
    }

    async fn run(&mut self, is_known: bool, heartbeat: Duration) -> Result<Infallible, Status> {
        if !is_known || !self.catch_up().await? {
            self.snapshot().await?;
        }
        let mut beat = interval(heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    self.live().await?;
                    if !self.store.is_current() {
                        return Err(Status::unavailable(UNHEARD));
                    }
                    // All up to here is on the stream, so nobody is told of a head without its deltas.
                    self.send(Message::Heartbeat(feed::Heartbeat { head: self.sent })).await?;
                }
                _ = self.head.changed() => self.live().await?,
            }
        }
    }

    async fn live(&mut self) -> Result<(), Status> {
        if !self.catch_up().await? {
            self.snapshot().await?;
        }
        Ok(())
    }

    /// Sends what was committed until this call; false when some of it is no longer kept.
    async fn catch_up(&mut self) -> Result<bool, Status> {
        let head = *self.head.borrow_and_update();
        while self.sent < head {
            let deltas = match self.publisher.since(self.sent) {
                Since::Deltas(deltas) => deltas,
                Since::Older => {
                    let kept = self.store.kept_since(self.sent, head).await;
                    match kept.map_err(internal)? {
                        Kept::Deltas(deltas) => deltas,
                        Kept::Gone => return Ok(false),
                    }
                }
            };
            for delta in deltas {
                self.put(delta).await?;
                self.sent += 1;
            }
        }
        Ok(true)
    }

    /// Everything, in key ranges, with deltas beside it.
    async fn snapshot(&mut self) -> Result<(), Status> {
        self.sent = *self.head.borrow_and_update();
        let tokens = self.store.token_count().await.map_err(internal)?;
        let history = self.store.history_of(self.sent).await.map_err(internal)?;
        self.send(Message::SnapshotBegin(SnapshotBegin {
            revision: self.sent,
            tokens,
            history: history.unwrap_or(0),
        }))
        .await?;
        let mut chunk = Chunk::default();
        self.snapshot_destinations(&mut chunk).await?;
        self.snapshot_accounts(&mut chunk).await?;
        let tokens = self.snapshot_tokens(&mut chunk).await?;
        self.flush(&mut chunk).await?;
        // Rows may be as new as this, so every delta up to it must be on the stream before the end.
        let newest = self.store.head().await.map_err(internal)?;
        loop {
            self.catch_up_beside().await?;
            if self.sent >= newest {
                break;
            }
            // In the database, and about to be published.
            if self.head.changed().await.is_err() {
                return Err(Status::unavailable("the control plane is going down"));
            }
        }
        self.send(Message::SnapshotEnd(SnapshotEnd {
            revision: self.sent,
            tokens,
        }))
        .await
    }

    async fn snapshot_destinations(&mut self, chunk: &mut Chunk) -> Result<(), Status> {
        let mut after = 0;
        loop {
            let page = self.store.destinations(after, PAGE_LARGE_ROWS).await;
            let page = page.map_err(internal)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.destination.id.0;
            for row in page {
                self.add(chunk, &Change::Destination(row.destination))
                    .await?;
            }
            self.catch_up_beside().await?;
        }
    }

    async fn snapshot_accounts(&mut self, chunk: &mut Chunk) -> Result<(), Status> {
        let mut after = 0;
        loop {
            let page = self
                .store
                .accounts(after, PAGE_ROWS)
                .await
                .map_err(internal)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.account.id.0;
            for row in page {
                self.add(chunk, &Change::Account(row.account)).await?;
            }
            self.catch_up_beside().await?;
        }
    }

    async fn snapshot_tokens(&mut self, chunk: &mut Chunk) -> Result<u64, Status> {
        let (mut after, mut sent) = (0, 0);
        loop {
            let page = self
                .store
                .token_page(after, PAGE_ROWS)
                .await
                .map_err(internal)?;
            let Some(last) = page.last() else {
                return Ok(sent);
            };
            after = last.id.0;
            for token in page {
                self.add(chunk, &Change::Token(token)).await?;
                sent += 1;
            }
            self.catch_up_beside().await?;
        }
    }

    async fn catch_up_beside(&mut self) -> Result<(), Status> {
        if self.catch_up().await? {
            return Ok(());
        }
        Err(Status::unavailable(
            "changes came faster than the snapshot could be sent; come again",
        ))
    }

    async fn add(&mut self, chunk: &mut Chunk, change: &Change) -> Result<(), Status> {
        let change = feed::Change::from(change);
        chunk.bytes += change.encoded_len() + 4;
        chunk.changes.push(change);
        if chunk.bytes >= CHUNK_BYTES {
            self.flush(chunk).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, chunk: &mut Chunk) -> Result<(), Status> {
        let Chunk { changes, .. } = std::mem::take(chunk);
        if changes.is_empty() {
            return Ok(());
        }
        self.send(Message::SnapshotChunk(SnapshotChunk { changes }))
            .await
    }

    async fn send(&self, message: Message) -> Result<(), Status> {
        self.put(encoded(message)).await
    }

    async fn put(&self, message: Bytes) -> Result<(), Status> {
        match timeout(STALL_MAX, self.outbox.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the gateway has hung up")),
            Err(_) => Err(Status::deadline_exceeded(
                "the gateway does not read its stream",
            )),
        }
    }
}

fn unheard(error: Error) -> Status {
    tracing::debug!(%error, "a gateway is sent away");
    Status::unavailable(UNHEARD)
}

fn internal(error: Error) -> Status {
    tracing::error!(%error, "the feed cannot read the store");
    Status::internal("the store cannot be read")
}
