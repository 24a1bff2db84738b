//! How slowly a body may come: 30 s and what its announced size takes at 256 KiB/s, and at least 1 KiB/s over any 5 s.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::model::{Rejection, text};

/// Limits on the time a body takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For any body.
    #[serde(deserialize_with = "text::positive_duration")]
    pub body_timeout: Duration,
    /// Added to it: the announced size at this many bytes per second.
    #[serde(deserialize_with = "text::bytes")]
    pub body_bytes_per_second: u64,
    /// Over any [`Config::body_window`] at least this many bytes per second, on average.
    #[serde(deserialize_with = "text::bytes")]
    pub body_bytes_per_second_min: u64,
    /// A body that stalls is cut when so much time has passed, and an eighth of it at most.
    #[serde(deserialize_with = "text::positive_duration")]
    pub body_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_timeout: Duration::from_secs(30),
            body_bytes_per_second: 256 << 10,
            body_bytes_per_second_min: 1 << 10,
            body_window: Duration::from_secs(5),
        }
    }
}

/// A body being read against the clock. Costs no timer while its bytes are already there.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    deadline: Instant,
    bytes_per_second: u64,
    window: Window,
}

/// The latest bytes, in steps: the window slides by one step at a time.
#[derive(Debug)]
struct Window {
    step: Duration,
    step_ends: Instant,
    bytes: u64,
    /// Of the steps that make up a window with the one that runs, oldest first.
    past: [u64; STEPS - 1],
    steps: usize,
    bytes_min: u64,
}

/// Of a window. More would see a stall sooner, and wake whoever waits for bytes more often.
const STEPS: usize = 8;

// === impl Window ===

impl Window {
    fn new(now: Instant, config: &Config) -> Self {
        let step = config.body_window / STEPS as u32;
        let per_second = u128::from(config.body_bytes_per_second_min);
        let bytes_min = per_second * config.body_window.as_millis() / 1_000;
        Self {
            step,
            step_ends: now + step,
            bytes: 0,
            past: [0; STEPS - 1],
            steps: 0,
            bytes_min: u64::try_from(bytes_min).unwrap_or(u64::MAX),
        }
    }

    /// A step has ended; gives whether the window that ends with it was too slow. There is none before the first is whole.
    fn slide(&mut self, now: Instant) -> bool {
        self.steps = (self.steps + 1).min(STEPS);
        let bytes = self.past.iter().fold(self.bytes, |sum, step| sum + step);
        self.past.rotate_left(1);
        self.past[STEPS - 2] = std::mem::take(&mut self.bytes);
        // From now, not from then: a gateway that was held up itself must not blame its senders.
        self.step_ends = now + self.step;
        self.steps == STEPS && bytes < self.bytes_min
    }
}

// === impl Paced ===

impl<B: Body<Data = Bytes> + Unpin> Paced<B> {
    pub(super) fn new(body: B, announced_bytes: Option<u64>, config: &Config) -> Self {
        let now = Instant::now();
        let mut paced = Self {
            body,
            deadline: now + config.body_timeout,
            bytes_per_second: config.body_bytes_per_second.max(1),
            window: Window::new(now, config),
        };
        paced.announced(announced_bytes.unwrap_or(0));
        paced
    }

    /// So many bytes are to come: the deadline moves by what they take.
    pub(super) fn announced(&mut self, bytes: u64) {
        self.deadline += Duration::from_secs(bytes / self.bytes_per_second);
    }

    /// The next bytes as they came; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Rejection> {
        loop {
            let check_at = self.window.step_ends.min(self.deadline);
            match timeout_at(check_at, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    // Trailers carry nothing for us.
                    let Ok(chunk) = frame.into_data() else {
                        continue;
                    };
                    self.window.bytes += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(Some(Err(_))) => return Err(Rejection::BodyCutOff),
                Err(_elapsed) => {
                    if check_at >= self.deadline || self.window.slide(Instant::now()) {
                        return Err(Rejection::BodyTooSlow);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::{sync::mpsc, time::sleep};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    /// When a body is cut that sends so many bytes at those seconds after its start and then nothing, in virtual time.
    fn lasts(sends: &[(f64, u64)]) -> f64 {
        let began = Instant::now();
        let mut window = Window::new(began, &Config::default());
        let mut sends = sends.iter().peekable();
        loop {
            let rings_at = (window.step_ends - began).as_secs_f64();
            if let Some((_, bytes)) = sends.next_if(|(at, _)| *at <= rings_at) {
                window.bytes += bytes;
            } else if window.slide(window.step_ends) {
                return rings_at;
            }
        }
    }

    #[test]
    fn a_body_that_stalls_is_cut_within_a_second_of_its_limit_whenever_it_stalls() {
        for last in [0.0, 0.3, 1.0, 2.4, 4.7, 4.99, 5.0, 5.01, 6.2, 9.9] {
            for bytes in [1, 6_000, 1 << 20] {
                let cut_at = lasts(&[(0.0, 6_000), (last, bytes)]);
                let fails_at = if last >= 6.0 || bytes == 1 {
                    5.0
                } else {
                    last + 5.0
                };
                assert!(
                    cut_at >= fails_at && cut_at <= fails_at + 1.0,
                    "{bytes} bytes at {last}: cut at {cut_at}, limit {fails_at}"
                );
            }
        }
    }

    #[test]
    fn a_body_at_the_floor_is_let_be_and_one_below_it_is_not() {
        let trickle = |bytes: u64| -> Vec<(f64, u64)> {
            (0..300).map(|at| (f64::from(at) / 10.0, bytes)).collect()
        };
        assert!(lasts(&trickle(110)) > 30.0);
        assert!((5.0..6.0).contains(&lasts(&trickle(90))));
    }

    fn paced(
        window: Duration,
    ) -> (
        mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
        Paced<impl Body<Data = Bytes> + Unpin>,
    ) {
        let (to, from) = mpsc::channel(1);
        let config = Config {
            body_window: window,
            ..Config::default()
        };
        let body = StreamBody::new(ReceiverStream::new(from));
        (to, Paced::new(body, Some(100 << 20), &config))
    }

    #[tokio::test]
    async fn a_burst_pays_for_one_window_of_silence_and_no_more() {
        let window = Duration::from_millis(1_600);
        let (to, mut paced) = paced(window);
        let began = Instant::now();
        let burst = Bytes::from(vec![b'x'; 6_000]);
        to.send(Ok(Frame::data(burst.clone()))).await.expect("room");
        assert_eq!(paced.next().await, Ok(Some(burst)));
        assert_eq!(paced.next().await, Err(Rejection::BodyTooSlow));
        let took = began.elapsed();
        assert!(took >= window && took < window * 7 / 4, "{took:?}");
    }

    #[tokio::test]
    async fn a_gateway_that_was_held_up_does_not_blame_its_sender() {
        let (to, mut paced) = paced(Duration::from_millis(400));
        let chunk = Bytes::from_static(b"x");
        to.send(Ok(Frame::data(chunk.clone()))).await.expect("room");
        sleep(Duration::from_millis(800)).await;
        assert_eq!(paced.next().await, Ok(Some(chunk.clone())));
        let sender = tokio::spawn(async move {
            sleep(Duration::from_millis(100)).await;
            to.send(Ok(Frame::data(chunk))).await
        });
        assert!(paced.next().await.is_ok_and(|it| it.is_some()));
        sender.await.expect("it ends").expect("it was awaited");
    }
}
