//! How many sessions there are, and from where. Counted also while no limit is set, so that one can be set later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{ClientAddress, Limit, Limits, Network};

/// The seats of a node. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_network: HashMap<Network, u32>,
}

/// One session's seat, in the extensions of the request that opens it. The engine keeps these for as long as it keeps the
/// session, and copies them on the way; with the last copy the seat is free.
#[derive(Debug, Clone)]
pub struct Seat(Arc<Occupied>);

#[derive(Debug)]
struct Occupied {
    seats: Seats,
    address: ClientAddress,
}

impl Seats {
    /// Takes a seat.
    ///
    /// # Errors
    /// The limit that says no.
    pub(super) fn take(&self, address: ClientAddress, limits: &Limits) -> Result<Seat, Limit> {
        let network = address.network();
        let mut taken = self.lock();
        if is_reached(taken.all, limits.max_connections) {
            return Err(Limit::MaxConnections);
        }
        let here = taken.by_network.get(&network).copied().unwrap_or_default();
        if is_reached(here, limits.max_connections_per_ip) {
            return Err(Limit::MaxConnectionsPerIp);
        }
        taken.all = taken.all.saturating_add(1);
        taken.by_network.insert(network, here.saturating_add(1));
        drop(taken);
        let seats = self.clone();
        Ok(Seat(Arc::new(Occupied { seats, address })))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Who sits there.
    pub fn address(&self) -> ClientAddress {
        self.0.address
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let network = self.address.network();
        let mut taken = self.seats.lock();
        taken.all = taken.all.saturating_sub(1);
        match taken.by_network.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.by_network.remove(&network)),
        }
    }
}

fn is_reached(count: u32, limit: u32) -> bool {
    limit > 0 && count >= limit
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn address(text: &str) -> ClientAddress {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn limits(all: u32, per_ip: u32) -> Limits {
        Limits {
            max_connections: all,
            max_connections_per_ip: per_ip,
            ..Limits::default()
        }
    }

    #[test]
    fn a_seat_is_taken_once_and_free_with_its_last_copy() {
        let seats = Seats::default();
        let (one, limits) = (address("1.1.1.1:1"), limits(3, 2));
        let first = seats.take(one, &limits).unwrap();
        let _second = seats.take(address("1.1.1.1:2"), &limits).unwrap();
        assert_eq!(seats.take(one, &limits).err(), Some(Limit::MaxConnectionsPerIp));
        let _third = seats.take(address("[2001:db8::1]:1"), &limits).unwrap();
        assert_eq!(
            seats.take(address("2.2.2.2:1"), &limits).err(),
            Some(Limit::MaxConnections)
        );
        let copy = first.clone();
        drop(first);
        assert!(seats.take(one, &limits).is_err(), "a copy is still there");
        drop(copy);
        assert!(seats.take(one, &limits).is_ok(), "and free again at once");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (seats, limits) = (Seats::default(), limits(0, 1));
        let _seat = seats.take(address("[2001:db8:0:1::1]:1"), &limits).unwrap();
        assert!(seats.take(address("[2001:db8:0:1:ffff::2]:1"), &limits).is_err());
        assert!(seats.take(address("[2001:db8:0:2::1]:1"), &limits).is_ok());
    }

    #[test]
    fn what_came_before_a_limit_counts_and_nothing_is_left_behind() {
        let seats = Seats::default();
        let sitting: Vec<Seat> = (0..5)
            .map(|_| seats.take(address("1.1.1.1:1"), &limits(0, 0)).unwrap())
            .collect();
        assert_eq!(
            seats.take(address("1.1.1.1:1"), &limits(0, 5)).err(),
            Some(Limit::MaxConnectionsPerIp)
        );
        assert_eq!(
            seats.take(address("1.1.1.1:1"), &limits(4, 0)).err(),
            Some(Limit::MaxConnections)
        );
        drop(sitting);
        let taken = seats.lock();
        assert_eq!((taken.all, taken.by_network.len()), (0, 0));
    }
}
