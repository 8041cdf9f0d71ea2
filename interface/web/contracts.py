"""Contracts over HTTP: agree, show, list, cancel, and what they earn (contract 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from flask import Response, url_for
from flask_openapi3 import APIBlueprint, Tag

from application.contracts import NewContract
from application.envelope import timestamp
from application.vault import opened
from domain.contract import Contract, Instalment, InstalmentStatus, Payee, Terms
from domain.keyed_request import current_command
from domain.money import InvalidAmount, money
from domain.payment import Payment
from interface.settings import Role
from interface.web.context import web
from interface.web.contract_answers import (
    ContractAnswer,
    ContractEarnings,
    ContractList,
    EarningsList,
)
from interface.web.contract_models import (
    CancelContract,
    ContractListQuery,
    ContractPath,
    CreateContract,
    EarningsQuery,
    InstalmentPath,
)
from interface.web.documents import json_response, list_document, next_action_document
from interface.web.models import NoMembers, PageQuery
from interface.web.operation_ids import by_view
from interface.web.pages import ordered_page, page_of
from interface.web.problems import Problem, listed
from interface.web.requests import needs
from system.persistence.contract_queries import PayeePlace

contracts = APIBlueprint(
    "contracts",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="contracts", description="Instalments, payees and what they earn")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


@contracts.post("/contracts", responses={201: ContractAnswer})
@needs(Role.WRITE)
def create_contract(body: CreateContract) -> Response:
    """Create a contract

    Each instalment starts a payment on its day, and shows the address of its hosted page.
    """
    contract = web().applications.contracts.create(_new(body))
    address = url_for("contracts.get_contract", contract_id=contract.contract_id)
    return json_response(_document(contract), 201, {"Location": address})


def _new(body: CreateContract) -> NewContract:
    command = current_command()
    chosen = command.request_id if command else web().applications.ids.uuid()
    return NewContract(
        contract_id=body.contract_id or str(chosen),
        description=body.description,
        currency=body.currency,
        payee=Payee(body.payee.id, body.payee.name),
        platform_fee_percent=body.platform_fee_percent,
        instalments=_terms(body),
        client=body.client_info.to_domain() if body.client_info else None,
        callback_url=body.callback_url,
    )


def _terms(body: CreateContract) -> list[Terms]:
    terms, errors = [], []
    for number, each in enumerate(body.instalments):
        try:
            terms.append(Terms(each.due_on, money(each.amount, body.currency)))
        except InvalidAmount as error:
            pointer = f"/instalments/{number}/amount"
            errors.append({"pointer": pointer, "detail": str(error)})
    if errors:
        raise Problem(InvalidAmount.code, listed(errors), errors=errors)
    return terms


@contracts.get("/contracts", responses={200: ContractList})
@needs(Role.READ)
def list_contracts(query: ContractListQuery) -> Response:
    """List contracts, newest first"""
    find = partial(web().contract_queries.list, payee_id=query.payee_id)
    page = page_of(query, find, ("created_at", "aggregate_id"))
    ids = [row["aggregate_id"] for row in page.rows]
    found = web().applications.contracts.get_many(ids)
    documents = _documents([found[contract_id] for contract_id in ids])
    return json_response(list_document(documents, page.next_cursor))


@contracts.get("/contracts/<string:contract_id>", responses={200: ContractAnswer})
@needs(Role.READ)
def get_contract(path: ContractPath) -> Response:
    """Show a contract with its instalments"""
    return json_response(_document(_contract(path.contract_id)))


@contracts.post("/contracts/<string:contract_id>/cancel", responses={200: ContractAnswer})
@needs(Role.WRITE)
def cancel_contract(path: ContractPath, body: CancelContract) -> Response:
    """Cancel a contract

    Nothing more falls due, and open payments are cancelled. Cancelling again changes nothing.
    """
    contract = _contract(path.contract_id)
    return json_response(_document(web().applications.contracts.cancel(contract.id, body.reason)))


@contracts.post(
    "/contracts/<string:contract_id>/instalments/<int:number>/payments",
    responses={202: ContractAnswer},
)
@needs(Role.WRITE)
def ask_for_instalment_again(path: InstalmentPath, body: NoMembers) -> Response:
    """Ask for an unpaid instalment again

    Starts another payment where the earlier one failed or was cancelled, for instance because
    its hosted page ran out.
    """
    contract = _contract(path.contract_id)
    changed = web().applications.contracts.ask_again(contract.id, path.number)
    return json_response(_document(changed), 202)


@contracts.get("/contracts/<string:contract_id>/earnings", responses={200: ContractEarnings})
@needs(Role.READ)
def get_contract_earnings(path: ContractPath, query: PageQuery) -> Response:
    """Show what a contract earned: in all, and page by page from each of its payments"""
    contract = _contract(path.contract_id)
    queries = web().contract_queries
    find = partial(queries.earned_by_payment, contract.contract_id)
    page = ordered_page(query, find, UUID, lambda row: str(row["payment_id"]))
    totals = queries.earned_by_contract(contract.contract_id)
    return json_response(
        {
            "contractId": contract.contract_id,
            "payee": asdict(contract.payee),
            "totals": [_earned(row) for row in totals],
            "payments": [
                {"paymentId": str(row["payment_id"]), **_earned(row)} for row in page.rows
            ],
            "nextCursor": page.next_cursor,
        }
    )


@contracts.get("/earnings", responses={200: EarningsList})
@needs(Role.READ)
def list_earnings(query: EarningsQuery) -> Response:
    """List what payees earned, in all and per currency, by payee and currency"""
    find = partial(web().contract_queries.earned_by_payee, payee_id=query.payee_id)
    page = ordered_page(query, find, _payee_place, _payee_place_text)
    documents = [
        {"payeeId": row["payee_id"], "payments": row["payments"], **_earned(row)}
        for row in page.rows
    ]
    return json_response(list_document(documents, page.next_cursor))


def _payee_place_text(row: Mapping[str, Any]) -> str:
    return f"{row['currency']}|{row['payee_id']}"


def _payee_place(text: str) -> PayeePlace:
    currency, _, payee_id = text.partition("|")
    if not payee_id or "\0" in text:
        raise ValueError("no place among payees")
    return PayeePlace(payee_id, currency)


def _earned(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "currency": row["currency"],
        "gross": row["gross"],
        "platformFee": row["platform_fee"],
        "net": row["net"],
    }


def _contract(contract_id: str) -> Contract:
    try:
        return web().applications.contracts.get(Contract.create_id(contract_id))
    except AggregateNotFoundError:
        raise Problem(
            "not_found", "no contract has this id: check it, or list /v1/contracts"
        ) from None


def _document(contract: Contract) -> dict[str, Any]:
    [document] = _documents([contract])
    return document


def _documents(found: Sequence[Contract]) -> list[dict[str, Any]]:
    open_payments = {
        instalment.payment_ids[-1]
        for contract in found
        for instalment in contract.instalments
        if instalment.status is InstalmentStatus.DUE
    }
    payments = web().applications.payments.get_many(open_payments) if open_payments else {}
    today = web().applications.clock.now().date()
    return [_shown(contract, payments, today) for contract in found]


def _shown(contract: Contract, payments: Mapping[UUID, Payment], today: date) -> dict[str, Any]:
    return {
        "contractId": contract.contract_id,
        "status": contract.status.value,
        "description": contract.description,
        "currency": contract.currency,
        "clientInfo": opened(contract.client, web().applications.vault),
        "payee": asdict(contract.payee),
        "platformFeePercent": contract.platform_fee_percent,
        "instalments": [
            _instalment(number, instalment, payments, today)
            for number, instalment in enumerate(contract.instalments, start=1)
        ],
        "callbackUrl": contract.callback_url,
        "cancellationReason": contract.cancellation_reason,
        "version": contract.version,
        "createdAt": timestamp(contract.created_on),
        "updatedAt": timestamp(contract.modified_on),
        "correlationId": contract.correlation_id,
    }


def _instalment(
    number: int, instalment: Instalment, payments: Mapping[UUID, Payment], today: date
) -> dict[str, Any]:
    latest = instalment.payment_ids[-1] if instalment.payment_ids else None
    payment = payments.get(latest) if latest else None
    page = payment.next_action if payment else None
    return {
        "instalment": number,
        "dueOn": instalment.terms.due_on.isoformat(),
        "amount": instalment.terms.amount.amount,
        "status": instalment.status.value,
        "overdue": instalment.is_overdue(today),
        "paymentId": str(latest) if latest else None,
        "nextAction": next_action_document(page.url, page.expires_at) if page else None,
    }
