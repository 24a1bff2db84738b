//! A future that runs to its end even when nobody waits for it any more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Awaits `work` in place; if that is cancelled, the rest of it goes on as a task of its worker.
///
/// A task of its own from the start would cost every request a wake-up; this costs only those whose client has gone.
pub(super) fn finish<T: 'static>(
    work: impl Future<Output = T> + 'static,
) -> impl Future<Output = T> {
    Finish {
        work: Some(Box::pin(work)),
    }
}

struct Finish<T: 'static> {
    work: Option<Pin<Box<dyn Future<Output = T>>>>,
}

// === impl Finish ===

impl<T> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let work = self.work.as_mut().expect("not polled after it was ready");
        let output = work.as_mut().poll(context);
        if output.is_ready() {
            self.work = None;
        }
        output
    }
}

impl<T: 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        // Work that has panicked can't go on.
        if let Some(work) = self.work.take()
            && !std::thread::panicking()
        {
            tokio::task::spawn_local(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, time::Duration};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_whose_waiter_has_gone_runs_to_its_end() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let is_done = Rc::new(Cell::new(false));
                let done = Rc::clone(&is_done);
                let (go, gone) = oneshot::channel::<()>();
                let (tell, told) = oneshot::channel();
                let work = finish(async move {
                    let _ = gone.await;
                    done.set(true);
                    let _ = tell.send(());
                });
                let cut = tokio::time::timeout(Duration::from_millis(1), work).await;
                assert!(cut.is_err() && !is_done.get());
                go.send(()).expect("it still waits");
                told.await.expect("it ran on");
                assert!(is_done.get());
            })
            .await;
    }
}
