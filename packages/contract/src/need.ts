import { type Static, Type } from '@sinclair/typebox'

/** A literal that an input of a class takes from what is on the node: a model file, or an uploaded file. */
export type Choice = Static<typeof Choice>
export const Choice = Type.Object({ classType: Type.String(), input: Type.String(), value: Type.String() })

/** What a workflow requires of a node. Tasks with the same need wait in the same queue. */
export type Need = Static<typeof Need>
export const Need = Type.Object({
  classes: Type.Array(Type.String()),
  models: Type.Array(Choice),
  files: Type.Array(Choice),
  labels: Type.Record(Type.String(), Type.String())
})
