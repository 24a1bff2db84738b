//! Somebody between a gateway and its control plane who leaves deltas out, repeats them, and sends reports of usage again, also
//! such as came long ago.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};
use wharfinger::rpc::feed::{
    Delta, FromControl, FromGateway, Usage,
    feed_client::FeedClient,
    feed_server::{Feed, FeedServer},
    from_control::Message as Told,
    from_gateway::Message as Said,
};

use super::{Dice, ways::Ways};

/// What is remembered, to be said once more.
const REMEMBERED: usize = 32;

/// What has been done to whoever follows through it.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) gaps: AtomicUsize,
    pub(crate) duplicates: AtomicUsize,
    pub(crate) reports: AtomicUsize,
    pub(crate) lost: AtomicUsize,
}

#[derive(Clone)]
pub(crate) struct Meddler {
    ways: Ways,
    dice: Arc<Mutex<Dice>>,
    /// Over all connections and all lives of the gateway.
    reports: Arc<Mutex<Vec<Usage>>>,
    done: Arc<Done>,
}

/// Of one connection.
#[derive(Default)]
struct Memory {
    deltas: Vec<Delta>,
    is_behind: bool,
}

// === impl Meddler ===

impl Meddler {
    /// Where it listens, and what it does.
    pub(crate) async fn start(ways: Ways, seed: u64) -> (SocketAddr, Arc<Done>) {
        let meddler = Self {
            ways,
            dice: Arc::new(Mutex::new(Dice(seed))),
            reports: Arc::default(),
            done: Arc::default(),
        };
        let done = meddler.done.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = FeedServer::new(meddler).max_decoding_message_size(64 << 20);
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (address, done)
    }

    fn below(&self, most: u64) -> u64 {
        self.dice.lock().expect("not poisoned").below(most)
    }

    /// What a message of the gateway becomes.
    fn said(&self, message: Said) -> Vec<Said> {
        let mut passed = vec![message.clone()];
        match message {
            Said::Usage(report) => {
                let mut reports = self.reports.lock().expect("not poisoned");
                let old = self.below(4 * REMEMBERED as u64) as usize;
                if self.below(4) == 0 {
                    passed.push(Said::Usage(report.clone()));
                }
                if let Some(old) = reports.get(old) {
                    // Before what is new, as if it had been delayed.
                    passed.insert(0, Said::Usage(old.clone()));
                }
                let again = passed.len() - 1;
                self.done.reports.fetch_add(again, Ordering::Relaxed);
                if reports.len() < REMEMBERED {
                    reports.push(report);
                } else {
                    let place = self.below(REMEMBERED as u64) as usize;
                    reports[place] = report;
                }
            }
            Said::Acknowledge(_) => match self.below(10) {
                0 => passed.clear(),
                1 => passed.push(passed[0].clone()),
                _ => {}
            },
            Said::Hello(_) => {}
        }
        passed
    }

    /// What a message of the control plane becomes; an error where the connection has to end.
    fn told(&self, message: Told, memory: &mut Memory) -> Result<Vec<Told>, Status> {
        let mut passed = vec![message.clone()];
        match message {
            Told::Delta(delta) => {
                match self.below(100) {
                    0 => {
                        passed.clear();
                        memory.is_behind = true;
                        self.done.gaps.fetch_add(1, Ordering::Relaxed);
                    }
                    1..6 => {
                        passed.push(passed[0].clone());
                        self.done.duplicates.fetch_add(1, Ordering::Relaxed);
                    }
                    place @ 6..11 => {
                        let old = memory.deltas.iter().rev().nth(place as usize - 6);
                        let old = old.cloned().map(Told::Delta);
                        let count = usize::from(old.is_some());
                        self.done.duplicates.fetch_add(count, Ordering::Relaxed);
                        passed.extend(old);
                    }
                    _ => {}
                }
                if memory.deltas.len() == REMEMBERED {
                    memory.deltas.remove(0);
                }
                memory.deltas.push(delta);
            }
            Told::UsageAcknowledge(_) if self.below(20) == 0 => {
                // Applied, and the gateway will never know: nothing gets lost but with its connection.
                self.done.lost.fetch_add(1, Ordering::Relaxed);
                return Err(Status::unavailable("lost on the way"));
            }
            Told::Heartbeat(_) if memory.is_behind => {
                return Err(Status::unavailable("nobody would notice the gap"));
            }
            _ => {}
        }
        Ok(passed)
    }

    async fn pass_up(self, mut from: Streaming<FromGateway>, to: mpsc::Sender<FromGateway>) {
        while let Ok(Some(message)) = from.message().await {
            for said in message.message.map_or(Vec::new(), |said| self.said(said)) {
                let message = FromGateway {
                    message: Some(said),
                };
                if to.send(message).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn pass_down(
        self,
        mut from: Streaming<FromControl>,
        to: mpsc::Sender<Result<FromControl, Status>>,
    ) {
        let mut memory = Memory::default();
        loop {
            let passed = match from.message().await {
                Ok(Some(FromControl {
                    message: Some(told),
                })) => self.told(told, &mut memory),
                Ok(Some(_)) => continue,
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let is_over = passed.is_err();
            let passed = match passed {
                Ok(passed) => passed.into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            };
            for told in passed {
                let message = told.map(|told| FromControl {
                    message: Some(told),
                });
                if to.send(message).await.is_err() {
                    return;
                }
            }
            if is_over {
                return;
            }
        }
    }
}

// === impl Feed ===

#[tonic::async_trait]
impl Feed for Meddler {
    type FollowStream = ReceiverStream<Result<FromControl, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FromGateway>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let away = || Status::unavailable("the control plane is away");
        let port = *self.ways.port.lock().expect("not poisoned");
        let url = format!("http://{}", port.ok_or_else(away)?);
        let channel = Endpoint::from_shared(url).expect("a URL").connect().await;
        let mut client = FeedClient::new(channel.map_err(|_| away())?);
        let metadata = request.metadata().clone();
        let (to_control, said) = mpsc::channel(16);
        tokio::spawn(self.clone().pass_up(request.into_inner(), to_control));
        let mut onward = Request::new(ReceiverStream::new(said));
        *onward.metadata_mut() = metadata;
        let told = client.follow(onward).await?.into_inner();
        let (to_gateway, passed) = mpsc::channel(16);
        tokio::spawn(self.clone().pass_down(told, to_gateway));
        Ok(Response::new(ReceiverStream::new(passed)))
    }
}
