// Package images reads OCI and docker images: it opens them wherever they are (a layout, an archive, a registry) and
// unpacks their layers into a folder.
//
// All that an image says is hostile. Digests are checked, what is unpacked never leaves the folder and is never larger
// than its limits; what cannot be unpacked as it is meant is refused. Owners, extended attributes, devices and the bits
// that give rights (setuid, setgid) are not kept: what comes out is for reading, not for booting.
//
// It knows nothing of processes and runtimes. It is for cmd/winbox-images only: what it needs (a TLS stack, among others)
// would cost every start of winbox time.
package images
