// SPDX-License-Identifier: Apache-2.0

// Package quota tells Windows programs of their container's limits, in the answers to what Wine asks of the machine, and
// counts the memory that they commit, which fails past a limit as it does on Windows.
//
// It is done by a library (folder library, freestanding C) that the dynamic linker loads into each process of Wine before
// all others: the preloader of package stub asks for it. Its functions take the place of the C library's for Wine's
// ntdll.so and all else that is native in the process. Nobody else sees it: neither the Windows program nor the
// environment that it hands on.
//
// The library does two more things, as it is in every process and sees what goes out of it: it has a lean registry completed
// (package wine), and makes the end of a process what it should be: one line for a crash, and all bits of an exit code.
//
// A container has:
//
//   - the library of each machine, at [Library];
//   - the limits, in a file that only winbox can write ([LimitsPath]); a process sees at once what `winbox update` changes;
//   - the counters of all its processes, in a file that they share ([CountersPath]), on a file system of a fixed size;
//   - the files of its memory control group ([MemoryFiles]), from which comes what is free.
//
// The counters are the programs' own to damage: a hostile one can make its container commit without limit, or not at all.
// What is enforced against its will is the control group's.
package quota
