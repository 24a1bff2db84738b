//! One connection's conversation: hello, welcome, a snapshot if one is due, then deltas and heartbeats.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream};
use tokio::{
    sync::watch,
    task,
    time::{self, Instant},
};
use tokio_stream::wrappers::WatchStream;
use tonic::{Streaming, metadata::MetadataValue, transport::Channel};
use tracing::info;

use super::{
    FollowConfig, Lost, collect::begins, ended::Ended, enforce, report::Reporting, stream::Stream,
    work,
};
use crate::{
    clock,
    directory::{
        Directory,
        keep::{Keeper, Kept, audit::is_whole},
    },
    model::{DigestKey, Position, Revision},
    rpc::feed::{
        self, Acknowledge, AuditHead, FromControl, FromGateway, Hello, feed_client::FeedClient,
        from_control::Message as Told, from_gateway::Message as Said,
    },
};

/// To the welcome, from the connection's start.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// So many heartbeats may be missed.
const HEARTBEATS_MISSED: u32 = 5;

/// A chunk or delta larger than this is refused by the decoder.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Deltas taken together hold about so many changes at most.
const CHANGES_TOGETHER: usize = 16_384;

/// Past so many changes the work leaves the async runtime, where heartbeats wait.
const CHANGES_INLINE: usize = 256;

/// How often freshness is written down.
const FRESH_EVERY: Duration = Duration::from_secs(60);

/// The gateway's side of the feed, over all its connections.
pub(super) struct Session {
    directory: Arc<Directory>,
    keeper: Keeper,
    kept: watch::Receiver<Kept>,
    config: FollowConfig,
    /// Say hello with nothing, so that a snapshot comes.
    ask_all: bool,
    progress: bool,
    fresh_kept: Option<Instant>,
    ended: Ended,
    /// Of the control plane's audit log, the newest record that we were told.
    audit: Option<AuditHead>,
}

impl Session {
    pub(super) fn new(
        directory: Arc<Directory>,
        mut keeper: Keeper,
        config: FollowConfig,
        ask_all: bool,
    ) -> Self {
        let kept = keeper.kept();
        let audit = keeper.take_audit();
        Self {
            directory,
            keeper,
            kept,
            config,
            ask_all,
            progress: false,
            fresh_kept: None,
            ended: Ended::default(),
            audit,
        }
    }

    pub(super) fn into_keeper(self) -> Keeper {
        self.keeper
    }

    /// Whether the last connection got as far as a table that follows.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Follows over one connection until it is lost.
    pub(super) async fn follow(&mut self, channel: Channel) -> Lost {
        self.directory.forget_head();
        let opened = time::timeout(WELCOME_TIMEOUT, self.open(channel)).await;
        let mut stream = match opened.unwrap_or(Err(Lost::Silent)) {
            Ok(stream) => stream,
            Err(lost) => return self.left(lost),
        };
        self.directory.told(true);
        let ended = self.converse(&mut stream).await;
        self.directory.told(false);
        match ended {
            Ok(()) => Lost::Closed,
            Err(lost) => self.left(lost),
        }
    }

    fn left(&mut self, lost: Lost) -> Lost {
        self.ask_all |= matches!(lost, Lost::WentBack);
        lost
    }

    async fn open(&mut self, channel: Channel) -> Result<Stream, Lost> {
        let hello = self.hello();
        let said = Position {
            revision: Revision(hello.revision),
            history: hello.history,
        };
        let (acknowledged, acknowledgements) = watch::channel(0);
        let hello = FromGateway {
            message: Some(Said::Hello(hello)),
        };
        let ended = self.ended.clone();
        let acknowledgements =
            WatchStream::from_changes(acknowledgements).map(move |revision| FromGateway {
                message: Some(Said::Acknowledge(Acknowledge {
                    revision,
                    accepted: ended.up_to(revision),
                })),
            });
        let (reporting, usage) = Reporting::new(self.config.usage.clone());
        let told = stream::select(acknowledgements, usage);
        let mut request = tonic::Request::new(stream::iter([hello]).chain(told));
        if let Some(join_key) = &self.config.join_key {
            let mut value = MetadataValue::try_from(format!("Bearer {}", join_key.reveal()))
                .map_err(|_| Lost::Connect("the join key can't be sent".into()))?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = FeedClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut inbound = client.follow(request).await.map_err(Box::new)?.into_inner();
        let first = inbound
            .next()
            .await
            .ok_or(Lost::Closed)?
            .map_err(Box::new)?;
        let Some(Told::Welcome(welcome)) = first.message else {
            return Err(Lost::Protocol("it doesn't begin with a welcome"));
        };
        self.welcomed(welcome, inbound, acknowledged, reporting, said)
    }

    /// What is enforced *and* kept: a control plane may take it as acknowledged.
    fn hello(&self) -> Hello {
        let mut hello = Hello {
            gateway: self.config.gateway.clone(),
            instance: self.config.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            audit: self.audit.clone(),
            ..Hello::default()
        };
        let kept = *self.kept.borrow();
        if let Some((store, lineage, key, _)) = self.directory.identity()
            && lineage == kept.lineage
            && !self.ask_all
        {
            hello.store = store;
            hello.revision = kept.position.revision.0;
            hello.history = kept.position.history;
            hello.digest_key_id = key;
        }
        hello.accepted = self.ended.again(hello.revision);
        hello
    }

    fn welcomed(
        &mut self,
        welcome: feed::Welcome,
        inbound: Streaming<FromControl>,
        acknowledged: watch::Sender<u64>,
        mut reporting: Reporting,
        said: Position,
    ) -> Result<Stream, Lost> {
        let begun_at_nothing = said == Position::default();
        let key = <[u8; 32]>::try_from(&welcome.digest_key[..])
            .map_err(|_| Lost::Protocol("its digest key has not 32 bytes"))?;
        if welcome.store.is_empty() {
            return Err(Lost::Protocol("its store has no name"));
        }
        let key = DigestKey::new(welcome.digest_key_id, key);
        let head = Revision(welcome.head);
        let applied = self.directory.revision();
        let is_same = self.directory.is_of(&welcome.store, &key);
        if is_same && head < applied && !begun_at_nothing {
            info!(%head, %applied, "the control plane's store is older than this table");
            // It may take what is kept for its own past, and send nothing at all: what is beyond its head never happened.
            return Err(Lost::WentBack);
        }
        let heartbeat = Duration::from_millis(match welcome.heartbeat_ms {
            0 => 1_000,
            ms => u64::from(ms).clamp(10, 60_000),
        });
        reporting.welcomed(welcome.usage_tokens_max);
        let mut stream = Stream {
            inbound,
            acknowledged,
            reporting,
            store: welcome.store,
            key,
            head: (head, std::time::Instant::now()),
            silence: heartbeat * HEARTBEATS_MISSED,
            is_following: is_same && head >= applied && welcome.continues,
            is_proven: said == self.directory.position(),
            is_same: is_same && head >= applied,
            asked_all: begun_at_nothing,
            collecting: None,
        };
        if stream.is_following {
            info!(store = %stream.store, revision = %applied, %head, "following the feed");
            self.progress = true;
            self.proven(&stream);
        } else if begun_at_nothing && self.directory.identity().is_none() {
            // Nothing is held: an empty store, or deltas from the first one on, make the table with no snapshot at all.
            stream.collect_deltas(Revision(0));
        }
        Ok(stream)
    }

    async fn converse(&mut self, stream: &mut Stream) -> Result<(), Lost> {
        self.install_if_complete(stream).await?;
        let mut silent_at = Instant::now() + stream.silence;
        loop {
            tokio::select! {
                message = stream.inbound.next() => {
                    let Some(message) = message else { return Ok(()) };
                    self.told(stream, message.map_err(Box::new)?).await?;
                    // Counted from here: what took us long is no silence of theirs.
                    silent_at = Instant::now() + stream.silence;
                }
                changed = self.kept.changed() => {
                    changed.map_err(|_| Lost::Protocol("nothing is kept any more"))?;
                    self.acknowledge(stream);
                }
                () = stream.reporting.due() => stream.reporting.send(),
                () = time::sleep_until(silent_at) => return Err(Lost::Silent),
            }
        }
    }

    async fn told(&mut self, stream: &mut Stream, message: FromControl) -> Result<(), Lost> {
        match message.message {
            // A kind of message that this version doesn't know.
            None => Ok(()),
            Some(Told::Welcome(_)) => Err(Lost::Protocol("a second welcome")),
            Some(Told::UsageAcknowledge(applied)) => {
                stream.reporting.acknowledged(&applied);
                Ok(())
            }
            Some(Told::Heartbeat(heartbeat)) => {
                self.heartbeat(stream, Revision(heartbeat.head));
                Ok(())
            }
            Some(Told::Audit(head)) => {
                if is_whole(&head) {
                    self.keeper.audit(head.clone());
                    self.audit = Some(head);
                }
                Ok(())
            }
            Some(Told::SnapshotBegin(begin)) => {
                let floor = self.floor(stream);
                info!(store = %stream.store, revision = begin.revision, tokens = begin.tokens, "a snapshot begins");
                let collecting = stream.collect(begins(&begin), begin.tokens, floor);
                stream.collecting = Some(collecting);
                stream.is_following = false;
                Ok(())
            }
            Some(Told::SnapshotChunk(chunk)) => {
                let mut collecting = stream
                    .collecting
                    .take()
                    .ok_or(Lost::Protocol("rows before a snapshot's beginning"))?;
                let is_large = chunk.changes.len() > CHANGES_INLINE;
                let taken = work(is_large, move || {
                    collecting.chunk(chunk).map(|()| collecting)
                });
                stream.collecting = Some(taken.await?);
                Ok(())
            }
            Some(Told::SnapshotEnd(end)) => {
                let collecting = stream.collecting.as_mut();
                collecting
                    .ok_or(Lost::Protocol("a snapshot's end before its beginning"))?
                    .end(end)?;
                self.install_if_complete(stream).await
            }
            Some(Told::Delta(delta)) => {
                let is_first = !stream.is_following && stream.asked_all && delta.revision == 1;
                if is_first && stream.collecting.is_none() {
                    stream.collect_deltas(self.floor(stream));
                }
                if let Some(collecting) = &mut stream.collecting {
                    collecting.delta(delta)?;
                    return self.install_if_complete(stream).await;
                }
                if !stream.is_following {
                    return Err(Lost::WentBack);
                }
                self.deltas(stream, delta).await
            }
        }
    }

    /// A table of the same history is never replaced by an older one.
    fn floor(&self, stream: &Stream) -> Revision {
        if stream.is_same {
            self.directory.revision()
        } else {
            Revision(0)
        }
    }

    fn heartbeat(&mut self, stream: &mut Stream, head: Revision) {
        stream.head = (head, std::time::Instant::now());
        if !stream.is_following || !stream.is_proven {
            return;
        }
        self.directory.heard(head, stream.head.1);
        let due = self.fresh_kept.is_none_or(|at| at.elapsed() >= FRESH_EVERY);
        if due && self.directory.is_fresh() {
            self.keeper.fresh(clock::wall().as_secs());
            self.fresh_kept = Some(Instant::now());
        }
    }

    /// That delta, and those that have already come behind it: applied together, then kept, then acknowledged.
    async fn deltas(&mut self, stream: &mut Stream, first: feed::Delta) -> Result<(), Lost> {
        let mut changes = 0;
        let mut deltas = Vec::new();
        let applied = self.directory.position();
        let mut had = applied.revision.0;
        let mut next = Some(first);
        let mut behind = None;
        let mut broken = None;
        while let Some(delta) = next.take() {
            if delta.revision == applied.revision.0 && !stream.is_proven {
                if delta.history != applied.history {
                    // Applied of a history that the store has lost since, perhaps with a revocation in its place.
                    broken = Some(Lost::WentBack);
                    break;
                }
                stream.is_proven = true;
                self.proven(stream);
            }
            if delta.revision > had {
                if delta.revision - 1 != had {
                    let got = delta.revision;
                    broken = Some(Lost::Gap { had, got });
                    break;
                }
                had = delta.revision;
                changes += delta.changes.len();
                deltas.push(delta);
            }
            if changes >= CHANGES_TOGETHER {
                break;
            }
            match stream.inbound.next().now_or_never() {
                Some(Some(Ok(FromControl {
                    message: Some(Told::Delta(delta)),
                }))) => next = Some(delta),
                Some(Some(Ok(other))) => behind = Some(other),
                Some(Some(Err(status))) => broken = Some(Lost::Status(Box::new(status))),
                Some(None) => broken = Some(Lost::Closed),
                None => {}
            }
        }
        self.enforce(deltas, changes).await?;
        if let Some(lost) = broken {
            return Err(lost);
        }
        match behind {
            Some(message) => Box::pin(self.told(stream, message)).await,
            None => Ok(()),
        }
    }

    async fn enforce(&mut self, deltas: Vec<feed::Delta>, changes: usize) -> Result<(), Lost> {
        let directory = Arc::clone(&self.directory);
        let (usage, ended) = (self.config.usage.clone(), self.ended.clone());
        let is_large = changes > CHANGES_INLINE || enforce::looks_far(&deltas);
        let for_disk = work(is_large, move || {
            enforce::apply(&directory, usage.as_ref(), &ended, deltas)
        });
        let for_disk = for_disk.await?;
        let lineage = self
            .directory
            .identity()
            .map_or(0, |(_, lineage, ..)| lineage);
        for delta in for_disk {
            self.keeper.delta(lineage, delta);
        }
        Ok(())
    }

    async fn install_if_complete(&mut self, stream: &mut Stream) -> Result<(), Lost> {
        let Some(complete) = stream
            .collecting
            .take_if(|collecting| collecting.is_complete())
        else {
            return Ok(());
        };
        let directory = Arc::clone(&self.directory);
        let revision = complete.reached.revision;
        let installed = task::spawn_blocking(move || {
            directory.install_guarded(complete.collected, complete.beside, complete.reached)
        });
        installed
            .await
            .map_err(|_| Lost::Protocol("a snapshot that can't be built"))?
            .map_err(|taken| Lost::Held {
                store: stream.store.clone(),
                taken,
            })?;
        self.ask_all = false;
        self.progress = true;
        stream.is_following = true;
        stream.is_same = true;
        stream.is_proven = true;
        // Before it is kept, so that the copy says how fresh it was.
        self.directory.heard(stream.head.0, stream.head.1);
        if let Some(usage) = &self.config.usage {
            // A snapshot doesn't say what it has ended.
            let usage = usage.clone();
            let latest = work(true, move || Ok(usage.accepted_latest())).await?;
            let latest = latest.into_iter();
            self.ended
                .add(latest.map(|(token, last)| (revision.0, token, last)));
        }
        self.keeper.replaced();
        info!(store = %stream.store, %revision, tokens = self.directory.tokens(), "a snapshot is enforced");
        Ok(())
    }

    /// The table that serves is of the control plane's history, all of it.
    fn proven(&mut self, stream: &Stream) {
        if stream.is_proven {
            self.directory.heard(stream.head.0, stream.head.1);
            self.acknowledge(stream);
        }
    }

    /// Says what is kept, if it is of the store that this connection follows.
    fn acknowledge(&mut self, stream: &Stream) {
        let kept = *self.kept.borrow_and_update();
        let lineage = self.directory.identity().map(|(_, lineage, ..)| lineage);
        if stream.is_following && stream.is_proven && lineage == Some(kept.lineage) {
            let _ = stream.acknowledged.send(kept.position.revision.0);
        }
    }
}
