import { useEffect } from 'preact/hooks';
import { bytes, duration, percent } from '../format';
import { useStore } from '../store';
import { choose } from '../uploads/pick';
import { isRunning, type Transfer, type Transfers } from '../uploads/transfers';
import { FileBadge } from './file-badge';
import { CheckIcon, CloseIcon, PauseIcon, PlayIcon, RetryIcon } from './icons';

/** More rows than this are counted, not shown: a dropped folder may bring thousands. */
const ROWS_MAX = 60;

/** The uploads under way, with what can be done about each. Not there when there are none. */
export function TransferSection({ transfers }: { transfers: Transfers }) {
  const list = useStore(transfers.list);
  useTitle(list);
  if (list.length === 0) return null;
  const running = list.filter(isRunning);
  const stopped = list.filter(({ state, reopen }) => state === 'paused' || (state === 'interrupted' && reopen !== 'pick'));
  return (
    <section class="card" aria-labelledby="transfers-title">
      <div class="section-head">
        <h2 id="transfers-title" tabIndex={-1}>
          Uploads
        </h2>
        <p class="muted section-note">{summary(list)}</p>
        {running.length > 1 && (
          <button type="button" class="button quiet small" onClick={() => transfers.pauseAll()}>
            <PauseIcon />
            Pause all
          </button>
        )}
        {stopped.length > 1 && (
          <button type="button" class="button quiet small" onClick={() => void transfers.resumeAll()}>
            <PlayIcon />
            Resume all
          </button>
        )}
      </div>
      <ul class="rows">
        {list.slice(0, ROWS_MAX).map((transfer) => (
          <TransferRow key={transfer.id} transfer={transfer} transfers={transfers} />
        ))}
      </ul>
      {list.length > ROWS_MAX && <p class="muted beyond">and {list.length - ROWS_MAX} more</p>}
    </section>
  );
}

/** The tab's title tells how far things are while one looks at another tab. */
function useTitle(list: readonly Transfer[]): void {
  const running = list.filter(isRunning);
  const title = running.length > 0 ? `${percentOf(running)} % · Outport` : 'Outport';
  useEffect(() => {
    document.title = title;
    return () => void (document.title = 'Outport');
  }, [title]);
}

function TransferRow({ transfer, transfers }: { transfer: Transfer; transfers: Transfers }) {
  const { name, type, size, state, sent, problem } = transfer;
  return (
    <li class="transfer" data-state={state}>
      <FileBadge name={name} type={type} />
      <div class="transfer-body">
        <div class="transfer-head">
          <span class="name" title={name}>
            {name}
          </span>
          <span class="figure">{state === 'done' ? <CheckIcon /> : `${percent(sent, size)} %`}</span>
        </div>
        <progress value={state === 'waiting' && sent === 0 ? 0 : sent} max={Math.max(size, 1)} aria-label={`Upload of ${name}`} />
        <p class="meta">{status(transfer)}</p>
        {problem && <p class="problem">{problem}</p>}
      </div>
      <TransferActions transfer={transfer} transfers={transfers} />
    </li>
  );
}

function TransferActions({ transfer, transfers }: { transfer: Transfer; transfers: Transfers }) {
  const { id, name, state } = transfer;
  // One button in one place for pause, resume and retry, so that the focus stays where it was.
  const main = mainAction(transfer, transfers);
  if (state === 'done') return null;
  return (
    <div class="actions">
      <button
        type="button"
        class={isRunning(transfer) ? 'button quiet' : 'button accent'}
        aria-label={`${main.label}: ${name}`}
        title={main.label}
        onClick={main.run}
      >
        <main.icon />
        <span class="label">{main.label}</span>
      </button>
      <button
        type="button"
        class="button quiet icon-only"
        aria-label={`Cancel: ${name}`}
        title="Cancel"
        onClick={() => {
          void transfers.cancel(id);
          focusAfterCancel(transfers);
        }}
      >
        <CloseIcon />
      </button>
    </div>
  );
}

/** The button that had the focus goes with its row, and the heading with the last row. */
function focusAfterCancel(transfers: Transfers): void {
  const heading = transfers.list.get().length > 0 ? 'transfers-title' : 'files-title';
  document.getElementById(heading)?.focus();
}

function mainAction({ id, state, reopen }: Transfer, transfers: Transfers) {
  if (state === 'waiting' || state === 'uploading') {
    return { label: 'Pause', icon: PauseIcon, run: () => transfers.pause(id) };
  }
  if (state === 'failed') return { label: 'Retry', icon: RetryIcon, run: () => void transfers.resume(id) };
  if (state === 'interrupted' && reopen === 'pick') {
    return { label: 'Pick the file again', icon: PlayIcon, run: () => void pickAgain(id, transfers) };
  }
  return { label: 'Resume', icon: PlayIcon, run: () => void transfers.resume(id) };
}

async function pickAgain(id: string, transfers: Transfers): Promise<void> {
  const [picked] = await choose(false);
  if (picked) await transfers.resumeWith(id, picked);
}

function status({ state, sent, size, bytesPerS, secondsLeft, stalled, reopen }: Transfer): string {
  const amount = `${bytes(sent)} of ${bytes(size)}`;
  switch (state) {
    case 'waiting':
      return sent > 0 ? amount : 'Waiting';
    case 'uploading':
      // All is sent: the server makes it durable before it says so.
      if (sent === size) return `Finishing · ${bytes(size)}`;
      if (stalled) return `Waiting for the server · ${amount}`;
      return [
        amount,
        bytesPerS === null ? null : `${bytes(Math.round(bytesPerS))}/s`,
        secondsLeft === null ? null : `${duration(secondsLeft)} left`,
      ]
        .filter(Boolean)
        .join(' · ');
    case 'paused':
      return `Paused · ${amount}`;
    case 'interrupted':
      return `${reopen === 'pick' ? 'Interrupted, pick the same file to go on' : 'Interrupted'} · ${amount} sent`;
    case 'failed':
      return `Stopped · ${amount}`;
    case 'done':
      return `Uploaded · ${bytes(size)}`;
  }
}

function summary(list: readonly Transfer[]): string {
  const running = list.filter(isRunning);
  if (running.length === 0) return list.some(({ state }) => state === 'interrupted') ? 'Left unfinished earlier' : '';
  return `${running.length} under way, ${percentOf(running)} %`;
}

function percentOf(list: readonly Transfer[]): number {
  const sent = list.reduce((sum, one) => sum + one.sent, 0);
  const size = list.reduce((sum, one) => sum + one.size, 0);
  return percent(sent, size);
}
