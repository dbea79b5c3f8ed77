// Package admission judges requests by admission policies, in process: by the API server's
// own admission plugin, with the policies as they are rendered, and without an API server.
//
// It promises that what Judge refuses an API server with the same policies refuses, for the
// same reason and in the same words; matching of resources, operations, subresources and
// namespaces, match conditions, variables and parameters included. It knows nothing of what
// comes before validating policies: roles, schemas, defaults and policies that mutate. A
// request is judged as it stands, so that a test says what those would have made of it.
package admission
