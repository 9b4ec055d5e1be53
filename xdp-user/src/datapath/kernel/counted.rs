//! What the program counts.

use aya::maps::PerCpuValues;
use xdp_common::abi::{Counter, Fault};
use xdp_common::reason::{Action, Reason};

use super::super::{Counters, Result};
use super::{KernelDatapath, failed};

impl KernelDatapath {
    /// One counter, over all CPUs.
    #[doc(hidden)]
    pub fn counter(&self, slot: usize, reason: Reason, action: Action) -> Result<Counter> {
        let index = u32::try_from(Counters::index(slot, reason, action)).unwrap_or(u32::MAX);
        let values = self.counters.get(&index, 0);
        let values = values.map_err(|e| failed("read a counter", e))?;
        let mut sums = Counters::default();
        values
            .iter()
            .for_each(|value| sums.add(index as usize, *value));
        Ok(sums.get(slot, reason, action))
    }

    /// All of it.
    pub(super) fn counted(&self) -> Result<Counters> {
        let mut sums = Counters::default();
        for (index, values) in self.counters.iter().enumerate() {
            let values = values.map_err(|e| failed("read the counters", e))?;
            values.iter().for_each(|counter| sums.add(index, *counter));
        }
        for (code, values) in self.faults.iter().enumerate() {
            let values = values.map_err(|e| failed("read the faults", e))?;
            values.iter().for_each(|count| sums.add_fault(code, *count));
        }
        let not_ip = self.not_ip.get(&0, 0);
        let not_ip = not_ip.map_err(|e| failed("read what isn't judged", e))?;
        not_ip.iter().for_each(|counts| sums.add_not_ip(counts));
        sums.add_fault(Fault::HitMissed.code() as usize, self.hits.missed());
        Ok(sums)
    }

    /// Sets the counters of an interface slot to zero.
    pub(super) fn reset_slot(&mut self, slot: usize) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, e)| failed("count the CPUs", e))?;
        for index in Counters::indices(slot) {
            let zero = vec![
                Counter {
                    packets: 0,
                    bytes: 0
                };
                cpus
            ];
            let zero = PerCpuValues::try_from(zero).map_err(|e| failed("reset the counters", e))?;
            self.counters
                .set(index, zero, 0)
                .map_err(|e| failed("reset the counters", e))?;
        }
        Ok(())
    }
}
