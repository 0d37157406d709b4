;;| tries = "is another format altogether: a program for this machine"
;;| wasm = "module_invalid: WebAssembly"
(module binary "\7fELF\02\01\01\00\00\00\00\00\00\00\00\00")
