// The official Kubernetes provider. Its module lacks the two files that upstream's main embeds, so
// this main reads them from its own directory: the schema with the version in it, and the mapping.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

func main() {
	provider.Serve("kubernetes", version.Version, beside("schema.json"), beside("terraform-mapping.json"))
}

func beside(name string) []byte {
	content, err := os.ReadFile(filepath.Join(filepath.Dir(os.Args[0]), name))
	if err != nil {
		log.Fatal(err)
	}
	return content
}
