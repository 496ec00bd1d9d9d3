package oci

import (
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Status of a container (runtime-spec, runtime.md, "State"); paused is runc's
// addition, which engines know.
type Status string

const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// State is what `winbox state` prints; the fields are those of runc.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      Status            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

// NewState is a state of the version of the runtime spec that winbox implements.
func NewState() State { return State{Version: specs.Version} }
