;;| tries = "is a component that imports a network client"
;;| wasm = "module_invalid: wasi:http"
(component
  (import "wasi:http/outgoing-handler@0.2.0" (instance
    (export "handle" (func (param "url" string) (result u32))))))
