// Command winbox runs Windows programs in isolated Linux containers: an OCI
// runtime and a launcher. This package holds flags, printing and exit codes;
// everything else is done by the packages it imports.
package main
