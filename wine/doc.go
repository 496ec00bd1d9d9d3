// Package wine knows Wine: where a host keeps it, how a prefix is made once and shared, how it is booted small, and
// what the container of a launched Windows program looks like. Everything that is a habit of Wine stays in here.
//
// A [Runtime] is an installed Wine. [Runtime.Prepare] makes its [Template] once: a skeleton root file system (mount
// points only) and a prefix, both shared read-only by all containers. [Template.Find] resolves the name of a program,
// [Template.Spec] turns it and its [Options] into the OCI configuration of a container. [Recognize] does the like for a
// bundle of an engine's, and [InContainer] for another process in a container. What their address spaces look like is
// planned by package preload; [Runtime.Examine] brings the two together.
//
// It is not for running containers: whoever can run one hands in a [Runner].
//
// Traps: the prefix directory must belong to the user that Wine runs as, or Wine refuses it; programs and wineserver
// must share one mount namespace; a template must never hold the file `wineserver`, which names a server directory.
package wine
