import type { JsonObject } from '../json/python-json.ts'
import type { InputSpec } from '../nodes/class-table.ts'

/** One reason why a node is refused. */
export interface ValidationError {
  type: string
  message: string
  details: string
  extra_info: JsonObject
}

/** The refused nodes of a graph, as `node_errors` has them. */
export type NodeErrors = Record<string, { errors: ValidationError[]; dependent_outputs: string[]; class_type: string }>

/** A reason that names an input together with its configuration. */
export function inputError(
  type: string,
  message: string,
  spec: InputSpec,
  details: string,
  extra: JsonObject
): ValidationError {
  return { type, message, details, extra_info: { input_name: spec.name, input_config: spec.config, ...extra } }
}
