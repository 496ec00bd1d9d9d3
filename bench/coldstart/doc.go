// Command coldstart measures how Windows programs start, and what they take while they do nothing:
//
//   - a hello world that has no wineserver to talk to yet, under `winbox launch`, everything included, and under plain
//     `wine` with a prefix of its own, in fresh namespaces, where nothing of Wine runs before and everything is killed
//     after;
//   - the same where another program runs already: `winbox exec`, and `wine` in the namespaces of another;
//   - where the time of a cold start goes, by the kernel's tracer (tracefs): some 40 events in a buffer in memory, which
//     do not show in the time;
//   - processes and proportional set size (PSS) of an idle program: in one container, and in each further one.
//
// It needs root, Wine and mingw-w64; for 32-bit programs, runtimes that run them.
package main
