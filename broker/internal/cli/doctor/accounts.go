package doctor

import (
	"context"
	"fmt"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// askedAtOnce bounds how many questions are open.
const askedAtOnce = 16

// account must have every right that its roles are shipped with.
func (c *Cluster) account(ctx context.Context, name string) Finding {
	rights := Shipped().Accounts[name]
	type question struct {
		right *Right
		verb  string
	}
	var questions []question
	for i := range rights {
		for _, verb := range rights[i].Verbs {
			questions = append(questions, question{&rights[i], verb})
		}
	}
	allowed, errs := make([]bool, len(questions)), make([]error, len(questions))
	var all sync.WaitGroup
	open := make(chan struct{}, askedAtOnce)
	for i, q := range questions {
		open <- struct{}{}
		all.Go(func() {
			allowed[i], errs[i] = c.may(ctx, name, q.right, q.verb)
			<-open
		})
	}
	all.Wait()
	var refused []string
	for i, q := range questions {
		switch {
		case apierrors.IsForbidden(errs[i]):
			return unknown("ask an administrator to run this: it takes the verb create on subjectaccessreviews.authorization.k8s.io", "you may not ask what %s may", name)
		case errs[i] != nil:
			return unknown("see whether the API server answers: kubectl get --raw /readyz", "what %s may cannot be learnt: %v", name, errs[i])
		case !allowed[i]:
			refused = append(refused, q.verb+" "+q.right.String())
		}
	}
	switch {
	case len(refused) > 0 && name == schedulerName && !c.needsScheduler():
		return warn(toLend, "%s/%s has not all rights, which is enough to advise", system, name)
	case len(refused) > 0:
		return fail(applyAgain, "%s/%s may not %s", system, name, some(refused))
	}
	return ok("%s/%s has all %d rights", system, name, len(questions))
}

// may asks the API server what a service account may.
func (c *Cluster) may(ctx context.Context, account string, r *Right, verb string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   fmt.Sprintf("system:serviceaccount:%s:%s", system, account),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + system, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: r.Namespace, Verb: verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name,
		},
	}}
	if err := c.API.Create(ctx, review); err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}
