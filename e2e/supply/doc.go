// Package supply says what Ebbtide's programs are made of, and shows that they are made of
// nothing else: a bill of materials is read from what the linker wrote into the program
// itself, and two builds, in different folders and with nothing in common but the modules,
// are compared byte for byte.
//
// It promises that the same program has the same bill of materials, byte for byte: it has no
// time and no random number in it. It refuses to build what is not in git's sight.
package supply
