// Command coldstart measures how long a hello world takes that has no
// wineserver to talk to yet: under `winbox launch`, everything included, and
// under plain `wine` with a prefix of its own, in fresh namespaces, where
// nothing of Wine runs before and everything is killed after.
//
// It needs root, Wine and mingw-w64.
package main
