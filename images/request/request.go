// Package request is what winbox asks of winbox-images: the one has the flags and the help, the other what needs much to be
// linked in.
package request

// A Request is the first argument of winbox-images, as JSON.
type Request struct {
	// Verb is that of `winbox image`, or "layers", which unpacks those of an image that are not unpacked yet, or "setup",
	// which is `winbox setup`.
	Verb string   `json:"verb"`
	Args []string `json:"args"`
	// DataRoot has the store.
	DataRoot string `json:"dataRoot"`

	// Of pack.
	Tag         string   `json:"tag,omitempty"`
	Entrypoint  string   `json:"entrypoint,omitempty"`
	Env         []string `json:"env,omitempty"`
	Workdir     string   `json:"workdir,omitempty"`
	User        string   `json:"user,omitempty"`
	StopSignal  string   `json:"stopSignal,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
	// Own are annotations that winbox reads, which become labels as well.
	Own         map[string]string `json:"own,omitempty"`
	Layers      []string          `json:"layers,omitempty"`
	Compression string            `json:"compression,omitempty"`
	// Base is what the lowest layer of a fat image has, and Entry what goes before its entry point.
	Base  []Tree   `json:"base,omitempty"`
	Entry []string `json:"entry,omitempty"`

	// Of the others.
	Output   string `json:"output,omitempty"`
	Format   string `json:"format,omitempty"`
	JSON     bool   `json:"json,omitempty"`
	All      bool   `json:"all,omitempty"`
	DryRun   bool   `json:"dryRun,omitempty"`
	MaxSize  int64  `json:"maxSize,omitempty"`
	MaxFiles int    `json:"maxFiles,omitempty"`
	Quiet    bool   `json:"quiet,omitempty"`

	// Of setup: see engines.Options.
	Runtime    string `json:"runtime,omitempty"`
	Dest       string `json:"dest,omitempty"`
	UserConfig string `json:"userConfig,omitempty"`
	Remove     bool   `json:"remove,omitempty"`
	Print      bool   `json:"print,omitempty"`
}

// A Tree is a folder, file or link of the host, and the place in an image that it is for.
type Tree struct {
	From string `json:"from"`
	At   string `json:"at"`
}
