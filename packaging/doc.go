// Package packaging holds what turns the program into packages: scripts of the package managers, the default
// configuration, the installer. Its tests install, upgrade and remove the packages in guests of the lab.
package packaging
