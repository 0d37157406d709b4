;;| tries = "is a component that imports the node's own interfaces for images and plugins"
;;| wasm = "module_invalid"
(component
  (import "potluck:image/host@0.1.0" (instance
    (export "secrets" (func (result string))))))
