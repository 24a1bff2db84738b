//! The spool: what it said yes to comes back, whole and in order, whatever the disk does.

mod faulty;
mod stage;
mod power;
mod bytes;
mod trouble;
mod keeping;
mod running;
mod pace;
