import { PythonFloat } from '../json/python-float.ts'
import type { JsonObject } from '../json/python-json.ts'
import type { KnownClass } from './class-table.ts'
import { conditioningNodes } from './conditioning-nodes.ts'
import { imageNodes } from './image-nodes.ts'
import { latentNodes } from './latent-nodes.ts'
import { loadingNodes } from './loading-nodes.ts'
import { maskNodes } from './mask-nodes.ts'
import { mediaNodes } from './media-nodes.ts'
import { modelLoaders } from './model-loaders.ts'
import type { NodeClass, NodeLibrary } from './node-class.ts'
import { samplingNodes } from './sampling-nodes.ts'
import { savingNodes } from './saving-nodes.ts'
import { testingNodes } from './testing-nodes.ts'
import { textNodes } from './text-nodes.ts'

/** Every node class the simulator can run. */
export const nodeLibrary: NodeLibrary = {
  ...imageNodes,
  ...maskNodes,
  ...loadingNodes,
  ...savingNodes,
  ...textNodes,
  ...modelLoaders,
  ...conditioningNodes,
  ...latentNodes,
  ...samplingNodes,
  ...mediaNodes,
  ...testingNodes
}

/** Classes the recorded `/object_info` lacks because the recording server missed a package, and the recorder's own node. */
export function addedClasses(): Map<string, KnownClass> {
  return new Map([
    added('UpscaleModelLoader', 'Load Upscale Model', { model_name: [[]] }, 'UPSCALE_MODEL'),
    added(
      'ImageUpscaleWithModel',
      'Upscale Image (using Model)',
      { upscale_model: ['UPSCALE_MODEL'], image: ['IMAGE'] },
      'IMAGE'
    ),
    added(
      'RecPreviewSteps',
      'RecPreviewSteps',
      {
        image: ['IMAGE'],
        steps: ['INT', { default: 4, min: 1, max: 100 }],
        delay: ['FLOAT', { default: new PythonFloat(0.05), min: new PythonFloat(0), max: new PythonFloat(5) }]
      },
      'IMAGE'
    )
  ])
}

function added(name: string, displayName: string, required: JsonObject, output: string): [string, KnownClass] {
  const info: JsonObject = {
    input: { required },
    input_order: { required: Object.keys(required) },
    output: [output],
    output_is_list: [false],
    output_name: [output],
    name,
    display_name: displayName,
    description: '',
    python_module: 'comfy_extras.nodes_upscale_model',
    category: 'image/upscaling',
    output_node: false
  }
  return [name, { info, behaviour: nodeLibrary[name] as NodeClass }]
}
