//! Which answer took how much energy.
//!
//! The processor's counters tell only of all that runs on it. What they count while several requests
//! are open is shared among these in equal parts, so that the sum is right; the power of an idle
//! machine, and what other programs take, is in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapwing_measure::energy::EnergyCounter;
use lapwing_measure::reading::{Reading, SystemFiles};
use lapwing_serving::message::Spent;

/// Accounts of what open requests take.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    counter: Reading<EnergyCounter>,
    /// Joules of the requests that are open; `None` where a reading failed meanwhile.
    open: HashMap<u64, Reading<f64>>,
    total_j: f64,
    n_opened: u64,
}

/// The account of a request, closed with it.
#[derive(Debug)]
pub(crate) struct Account {
    number: u64,
    ledger: Ledger,
}

impl Ledger {
    pub(crate) fn new(files: &SystemFiles) -> Ledger {
        let counter = EnergyCounter::open(files);
        let book = Book { counter, open: HashMap::new(), total_j: 0.0, n_opened: 0 };
        Ledger(Arc::new(Mutex::new(book)))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begin to count for a request.
    pub(crate) fn open(&self) -> Account {
        let mut book = self.book();
        book.share();
        book.n_opened += 1;
        let number = book.n_opened;
        book.open.insert(number, Ok(0.0));
        Account { number, ledger: self.clone() }
    }

    /// Whether there is anything to count.
    pub(crate) fn counts(&self) -> bool {
        self.book().counter.is_ok()
    }

    /// What is counted, by its names.
    pub(crate) fn sensors(&self) -> Vec<String> {
        self.book().counter.as_ref().map_or_else(|_| Vec::new(), EnergyCounter::sensors)
    }

    /// Look, so that counters do not begin anew unseen.
    pub(crate) fn tick(&self) {
        self.book().share();
    }

    /// Joules of all requests, or why they are not known.
    pub(crate) fn total_j(&self) -> Reading<f64> {
        let mut book = self.book();
        book.share();
        match &book.counter {
            Ok(_) => Ok(book.total_j),
            Err(reason) => Err(reason.clone()),
        }
    }
}

impl Book {
    /// Share what was counted since the last time among those that were open.
    fn share(&mut self) {
        let Ok(counter) = &mut self.counter else { return };
        let spent = counter.spent_j();
        if self.open.is_empty() {
            return;
        }
        self.total_j += spent.as_ref().map_or(0.0, |spent| *spent);
        let part = spent.map(|spent| spent / self.open.len() as f64);
        for account in self.open.values_mut() {
            *account = account.clone().and_then(|sum| Ok(sum + part.clone()?));
        }
    }
}

/// A reading in the words of an answer.
pub(crate) fn spent(reading: &Reading<f64>) -> Spent {
    match reading {
        Ok(joules) => Spent { energy_j: Some(*joules), energy_null: None },
        Err(reason) => Spent { energy_j: None, energy_null: Some(reason.to_string()) },
    }
}

impl Account {
    /// What it took until now.
    pub(crate) fn spent(&self) -> Spent {
        let mut book = self.ledger.book();
        book.share();
        match &book.counter {
            Ok(_) => spent(book.open.get(&self.number).unwrap_or(&Ok(0.0))),
            Err(reason) => spent(&Err(reason.clone())),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        book.share();
        book.open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const PACKAGE: &str = "sys/class/powercap/intel-rapl:0";

    fn put(root: &Path, file: &str, text: &str) {
        std::fs::create_dir_all(root.join(PACKAGE)).unwrap();
        std::fs::write(root.join(PACKAGE).join(file), text).unwrap();
    }

    #[test]
    fn open_requests_share_what_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let count = |joules: u64| put(root, "energy_uj", &(joules * 1_000_000).to_string());
        put(root, "name", "package-0");
        put(root, "max_energy_range_uj", "1000000000");
        count(100);
        let ledger = Ledger::new(&SystemFiles::at(root));
        count(150);
        let first = ledger.open();
        assert_eq!(first.spent().energy_j, Some(0.0), "what was before is nobody's");
        count(160);
        let second = ledger.open();
        count(170);
        assert_eq!(first.spent().energy_j, Some(15.0));
        assert_eq!(second.spent().energy_j, Some(5.0));
        drop(first);
        count(173);
        assert_eq!(second.spent().energy_j, Some(8.0));
        drop(second);
        count(500);
        assert_eq!(ledger.total_j(), Ok(23.0));
        let third = ledger.open();
        std::fs::remove_file(root.join(PACKAGE).join("energy_uj")).unwrap();
        let spent = third.spent();
        assert!(spent.energy_j.is_none() && spent.energy_null.unwrap().contains("energy_uj"));
    }

    #[test]
    fn a_machine_without_counters_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&SystemFiles::at(folder.path()));
        let spent = ledger.open().spent();
        assert_eq!(spent.energy_j, None);
        assert!(spent.energy_null.unwrap().contains("no energy counter"));
        assert!(ledger.total_j().is_err());
    }
}
