;;| tries = "claims to be compiled already, by the engine itself, with code of its own"
;;| wasm = "module_invalid: WebAssembly"
(module binary
  "\7fELF\02\01\01\c8\00\00\00\00\00\00\00\00\01\00\3e\00\01\00\00\00"
  "wasmtime" "\0048.0.8\00")
