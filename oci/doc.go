// Package oci reads what an OCI bundle says and writes what the runtime spec
// wants to be told: config.json becomes a checked [Bundle], a container's
// state becomes the JSON that engines parse.
//
// It makes no system call beyond reading files and knows nothing of how a
// container is built; package sandbox does that.
//
// Traps: a bundle is hostile input. Sizes are capped, the version is checked
// before anything is believed, and unknown fields are accepted, as the spec
// demands of runtimes (config.md, "Extensibility").
package oci
