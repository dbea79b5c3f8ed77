# Of the output of go test: what failed, for a reader who sees no more than some pages of
# it. Of each test that failed are left its first lines and its last ones, where its error
# stands; long lines are cut.
function flush(i) {
	for (i = 1; i <= n; i++) {
		if (i <= head || i > n - tail) print substr(line[i], 1, 400)
		else if (i == head + 1) print "    … " n - head - tail " lines are left out"
	}
	n = 0
}
BEGIN { head = 4; tail = 20 }
/^ *--- FAIL/ { flush(); show = 1 }
/^(FAIL|ok|PASS|panic:|fatal error:|WARNING: DATA RACE|[A-Z][0-9][0-9][0-9][0-9] )/ { flush(); show = /^(FAIL|panic:|fatal error:|WARNING: DATA RACE)/ }
show { line[++n] = $0 }
END { flush() }
