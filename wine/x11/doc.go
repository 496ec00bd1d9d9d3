// Package x11 is as much of the X Window System's protocol as it takes to copy a screen ([Capture]), and reads the
// files in which displays' cookies are kept ([FindCookie]).
//
// It is not an X client library. It sends two requests that are of constant size; what comes back is taken for an
// attacker's, since the server runs in a container: sizes are checked before memory is allocated, and the caller sets a
// deadline on the connection. Of the libraries that there are, none expects that of a server.
//
// Names and layouts are those of "X Window System Protocol, Version 11" (x.org), appendix B.
package x11
