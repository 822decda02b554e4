//! The listening sockets of one core, and whether it still lets clients in.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::net::Incoming;

/// Where clients come in.
#[derive(Default)]
pub(crate) struct Doors {
    incoming: RefCell<Vec<Rc<Incoming>>>,
    /// No client is let in any more; those that are here leave as their transactions end, or when they will.
    draining: Cell<bool>,
    /// Every client has to leave now, and the core ends.
    stopping: Cell<bool>,
}

impl Doors {
    /// Another listening socket, until the core drains.
    pub(super) fn add(&self, incoming: &Rc<Incoming>) {
        self.incoming.borrow_mut().push(Rc::clone(incoming));
    }

    /// Lets nobody in any more.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.incoming.borrow().iter().for_each(|door| door.stop());
    }

    /// Lets nobody in any more, and ends the core with its last client.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.drain();
    }

    /// True when the core lets nobody in any more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// True when the core is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}
