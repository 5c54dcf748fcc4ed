// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! How much a thread counts against others (setpriority(2)).

use nix::errno::Errno;
use nix::libc;

use crate::KernelError;

/// Makes the calling thread count less than others: `nice` is 1 to 19, the higher the less. On Linux
/// the priority is a thread's own, whatever POSIX says of processes.
pub fn lower_priority_of_this_thread(nice: i32) -> Result<(), KernelError> {
    let refuse = |errno| KernelError::new(format!("lower a thread's priority to {nice}"), errno);
    if !(1..=19).contains(&nice) {
        return Err(refuse(Errno::EINVAL));
    }
    // SAFETY: the call takes numbers only; 0 stands for the calling thread, which exists.
    let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if set == 0 {
        Ok(())
    } else {
        Err(refuse(Errno::last()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;

    /// The field `nice` of a thread (proc_pid_stat(5): the nineteenth).
    fn nice_of_this_thread() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let behind_name = stat.rsplit(") ").next().unwrap();
        behind_name.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn only_the_calling_thread_counts_less() {
        let before = nice_of_this_thread();
        let lowered = thread::spawn(|| {
            lower_priority_of_this_thread(15).unwrap();
            nice_of_this_thread()
        });
        assert_eq!(lowered.join().unwrap(), 15);
        assert_eq!(nice_of_this_thread(), before);
        assert_eq!(lower_priority_of_this_thread(0).unwrap_err().errno, Errno::EINVAL);
    }
}
