//! One worker's open connections: woken when the phase moves, cut at the deadline.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::Waker,
};

use tokio::{sync::Notify, task::AbortHandle};

use super::drain::Phase;

/// Who is here.
#[derive(Debug)]
pub(super) struct Roster {
    phase: Cell<Phase>,
    next: Cell<u64>,
    members: RefCell<HashMap<u64, Member>>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Member {
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
}

/// A connection's line on the roster; struck out when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    roster: Rc<Roster>,
    id: u64,
}

// === impl Roster ===

impl Roster {
    pub(super) fn new(phase: Phase) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(phase),
            next: Cell::new(0),
            members: RefCell::default(),
            emptied: Notify::new(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn enter(self: &Rc<Self>) -> Entry {
        let id = self.next.get();
        self.next.set(id + 1);
        self.members.borrow_mut().insert(id, Member::default());
        Entry {
            roster: self.clone(),
            id,
        }
    }

    /// Runs the connection's task; its entry must be inside.
    pub(super) fn spawn(self: &Rc<Self>, id: u64, task: impl Future<Output = ()> + 'static) {
        let abort = tokio::task::spawn_local(task).abort_handle();
        if let Some(member) = self.members.borrow_mut().get_mut(&id) {
            member.abort = Some(abort);
        }
    }

    /// Tells everybody.
    pub(super) fn move_to(&self, phase: Phase) {
        self.phase.set(phase);
        for member in self.members.borrow().values() {
            if let Some(waker) = &member.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Waits until nobody is left.
    pub(super) async fn emptied(&self) {
        while !self.members.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    /// Cuts whoever is left, and says how many those were.
    pub(super) fn abort(&self) -> usize {
        let members = self.members.borrow();
        for member in members.values() {
            if let Some(abort) = &member.abort {
                abort.abort();
            }
        }
        members.len()
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Keeps the task's waker, for when the phase moves.
    pub(super) fn listen(&self, waker: &Waker) {
        if let Some(member) = self.roster.members.borrow_mut().get_mut(&self.id) {
            member.waker = Some(waker.clone());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut members = self.roster.members.borrow_mut();
        members.remove(&self.id);
        if members.is_empty() {
            self.roster.emptied.notify_one();
        }
    }
}
