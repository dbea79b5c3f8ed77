package v1alpha1

// Default returns the arguments that apply where none are given.
func Default() EbbtideArgs {
	return EbbtideArgs{
		TakeBackAfter: DefaultTakeBackAfter,
		GangTimeout:   DefaultGangTimeout,
		MaxGrace:      DefaultMaxGrace,
		RestartCost:   DefaultRestartCost,
	}
}
