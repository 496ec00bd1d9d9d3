package test

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// corpusAll makes TestCorpus run every job on each Wine that can, which takes three times as long: `make corpus`.
const corpusAll = "WINBOX_TEST_CORPUS_ALL"

// failingJobs are the jobs of the corpus that are known to fail, with the line at which they do.
var failingJobs = map[string]string{
	// 7-Zip 9.38 marks a name as UTF-8 only if the system's code page cannot have all its letters. With UTF-8 as that code
	// page, the default, no name is marked, and other archivers take it for code page 437. The job passes with --encoding.
	"7z938utf8_x64": "diff -r in/tree out/lx",
}

// TestCorpus lets real programs do real work: see corpus/README.md.
func TestCorpus(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("corpus/jobs.sh", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	jobs := strings.Fields(string(out))
	for _, name := range slices.Sorted(maps.Keys(failingJobs)) {
		if !slices.Contains(jobs, name) {
			t.Errorf("%s is known to fail, but is no job", name)
		}
	}
	for _, name := range jobs {
		kinds := []string{"i386"}
		switch all := os.Getenv(corpusAll) != ""; {
		case all && strings.HasSuffix(name, "_x86"):
			kinds = append(kinds, "new")
		case all:
			kinds = append(kinds, "new", "host")
		}
		for _, kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				b := newBox(t)
				if kind != "host" {
					b = newRuntimeBox(t, kind)
				}
				b.job(name, failingJobs[name])
			})
		}
	}
}

// job runs a job of the corpus, which is to pass or to fail at a line.
func (b *box) job(name, failure string) {
	b.t.Helper()
	run := []string{b.winbox, "--root", b.root, "launch"}
	if b.runtime != "" {
		run = append(run, "--runtime", b.runtime)
	}
	cmd := exec.Command("corpus/jobs.sh", "run", b.dir, name)
	cmd.Env = append(append(os.Environ(), b.env...), "RUN="+strings.Join(run, " "))
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	last := said[strings.LastIndexByte(said, '\n')+1:]
	switch {
	case failure == "" && err != nil:
		b.t.Errorf("%v\n%s", err, said)
	case failure != "" && err == nil:
		b.t.Error("is known to fail, but passes: take it off the list")
	case failure != "" && !strings.HasSuffix(last, failure):
		b.t.Errorf("is known to fail at %q, but does so otherwise: %v\n%s", failure, err, said)
	}
}
