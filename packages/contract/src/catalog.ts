import { type Static, Type } from '@sinclair/typebox'

/**
 * What one ComfyUI can run, taken from its `/object_info`: classes, which of them are output nodes, and the values that their
 * choice inputs take. Equal catalogs are shared by digest. Equal option lists are stored once and referred to by index.
 */
export type Catalog = Static<typeof Catalog>
export const Catalog = Type.Object({
  classes: Type.Record(
    Type.String(),
    Type.Object({
      output: Type.Boolean(),
      required: Type.Array(Type.String()),
      choices: Type.Record(Type.String(), Type.Integer({ description: 'Index into lists' })),
      uploads: Type.Array(Type.String({ description: 'Inputs whose value names an uploaded file' }))
    })
  ),
  lists: Type.Array(Type.Array(Type.String())),
  modelBytes: Type.Record(Type.String(), Type.Number({ description: 'Size of a model file, where ComfyUI told it' }))
})
