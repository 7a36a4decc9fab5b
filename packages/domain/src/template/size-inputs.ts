import type { Workflow } from '../workflow.ts'

const sizes = ['width', 'height', 'batch_size']

/** The graph nodes that set the size of what is generated: empty latents and their like, with literal width, height and batch_size. */
export const sizeInputsOf = ({ graphNodes }: Workflow): string[] =>
  [...graphNodes.values()]
    .filter(({ inputs }) =>
      sizes.every(name => inputs[name]?.kind === 'literal' && typeof inputs[name].value === 'number')
    )
    .map(({ id }) => id)
