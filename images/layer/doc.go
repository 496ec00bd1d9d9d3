// Package layer unpacks the layers of images, which are tar streams, into folders.
//
// All that a layer says is hostile. Every name is resolved by openat2(2) from a descriptor of the folder with
// RESOLVE_IN_ROOT, and what is changed is changed by the name alone, relative to a descriptor of its parent, without
// following links: nothing outside of the folder is touched, whatever links the layer has made. What is unpacked is never
// larger than its limits. Devices, pipes, and the bits and attributes that give rights (setuid, setgid, security.*) are not
// kept: containers that winbox makes have devices of their own and cannot gain privileges.
//
// It needs nothing but the standard library, so that winbox itself can use it.
package layer
