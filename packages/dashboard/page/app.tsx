import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { FleetPage } from './fleet-page.tsx'
import { type Connection, type FleetState, signOut, useFleet } from './fleet-store.ts'
import { SignIn } from './sign-in.tsx'
import { TaskPage } from './task-page.tsx'

/** The whole page: a head that is always there, and the fleet or one task below it. */
export const App = () => {
  const hash = useHash()
  const fleet = useFleet()
  const { connection, refusal } = fleet
  const task = /^#\/tasks\/(task_[0-9a-z]{32})$/.exec(hash)?.[1]
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <Head fleet={fleet} />
      <main id="main" tabIndex={-1}>
        {connection === 'refused' && refusal?.status === 401 ? (
          <SignIn reason={refusal.message} />
        ) : task ? (
          <TaskPage key={task} id={task} />
        ) : connection === 'refused' ? (
          <Notice title="This key may not see the fleet">{refusal?.message}</Notice>
        ) : (
          <FleetPage />
        )}
      </main>
    </>
  )
}

const useHash = (): string => {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const follow = (): void => {
      if (location.hash === '#main') return
      setHash(location.hash)
      scrollTo(0, 0)
    }
    addEventListener('hashchange', follow)
    return () => removeEventListener('hashchange', follow)
  }, [])
  return hash
}

const connectionWords: Readonly<Record<Connection, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Not connected',
  refused: 'No access'
}

const Head = ({ fleet: { connection, session } }: { readonly fleet: FleetState }) => (
  <header class="head">
    <a class="brand" href="#/">
      comfy-balancer
    </a>
    <FindTask />
    <nav class="more-links" aria-label="More">
      <a href="./docs">API</a>
      {session?.keyName && connection !== 'refused' && (
        <>
          <span class="quiet cut">
            {session.keyName}, {session.tenant}
          </span>
          <button type="button" class="small" onClick={signOut}>
            Sign out
          </button>
        </>
      )}
    </nav>
    <span class={`live live-${connection}`} role="status">
      {connectionWords[connection]}
    </span>
  </header>
)

const FindTask = () => {
  const [isWrong, setWrong] = useState(false)
  const open = (event: SubmitEvent): void => {
    event.preventDefault()
    const input = (event.currentTarget as HTMLFormElement).elements.namedItem('task') as HTMLInputElement
    const id = /task_[0-9a-z]{32}/.exec(input.value)?.[0]
    setWrong(!id)
    if (!id) return
    location.hash = `#/tasks/${id}`
    input.value = ''
  }
  return (
    <search class="find">
      <form onSubmit={open}>
        <input
          name="task"
          type="search"
          aria-label="Open a task by its id"
          aria-invalid={isWrong}
          placeholder="Open a task: task_…"
          autocomplete="off"
          spellcheck={false}
          onInput={() => setWrong(false)}
        />
        {isWrong && (
          <span class="find-hint" role="alert">
            A task id is task_ and 32 characters.
          </span>
        )}
      </form>
    </search>
  )
}

/** Says that there is nothing to show, and what to do about it. */
export const Notice = ({ title, children }: { readonly title: string; readonly children?: ComponentChildren }) => (
  <section class="notice">
    <h1>{title}</h1>
    <div>{children}</div>
  </section>
)
