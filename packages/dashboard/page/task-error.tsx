import type { Problem } from '@comfy-balancer/contract/problem'
import { ScrollBox } from './scroll-box.tsx'

/** Whose fault a failure is, and what helps. */
const advice: Readonly<Record<string, string>> = {
  'comfyui-rejected':
    'ComfyUI checked the workflow before running it and did not take it. Correct what it names; trying again as it is will not help.',
  'comfyui-execution-error':
    'ComfyUI took the workflow and one of its graph nodes failed. The message is ComfyUI’s own; its log below may say more.',
  'out-of-memory':
    'The workflow needs more GPU memory than the nodes have that tried it. A smaller picture or batch helps, or a node with more VRAM.',
  'timed-out':
    'It ran out of the time that the request allowed. Allow more with timeoutSeconds or deadlineSeconds, or ask for less work.',
  'attempts-exhausted':
    'Several nodes went away while they ran it. If other tasks do well, this workflow may take ComfyUI down: look at the ComfyUI logs of those nodes.',
  'input-unavailable':
    'A file that the workflow takes as input could not be fetched. Check that its address still answers.',
  'output-missing':
    'ComfyUI finished, but a file that it said it had made could not be fetched. Look at the disk of that node.'
}

/** Why a task failed, in plain words and in ComfyUI's own. */
export const TaskError = ({ error }: { readonly error: Problem }) => (
  <section class="card error-card" aria-labelledby="error">
    <h2 id="error">{error.title}</h2>
    <p>{error.detail}</p>
    {advice[error.code] && <p>{advice[error.code]}</p>}
    {error.errors && error.errors.length > 0 && (
      <ul>
        {error.errors.map(({ pointer, detail }) => (
          <li key={pointer + detail}>
            <code>{pointer}</code> {detail}
          </li>
        ))}
      </ul>
    )}
    {error.comfyui !== undefined && (
      <details>
        <summary>ComfyUI’s own words</summary>
        <ScrollBox label="ComfyUI’s own words">
          <pre>{JSON.stringify(error.comfyui, null, 2)}</pre>
        </ScrollBox>
      </details>
    )}
  </section>
)
